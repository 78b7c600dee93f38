-- A month's partition that can't be made is told of, and nothing else is wrong then: its IMs go to the default partition.

SET LOCAL search_path = archive;

-- Make the partitions of the month before a day's and of the months after it. Rows of such a month that went to the
-- default partition move with it. Returns why a month has none: a table of its name that was detached stays detached,
-- for somebody did that on purpose.
DROP FUNCTION ensure_partitions(timestamptz, integer);
CREATE FUNCTION ensure_partitions(around timestamptz DEFAULT now(), ahead integer DEFAULT 3) RETURNS text[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp SET timezone = 'UTC' SET lock_timeout = '1s' AS $$
DECLARE
    first timestamptz;
    name text;
    lacking text[] := '{}';
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('archive.ensure_partitions')) THEN
        RETURN lacking; -- another session makes them now
    END IF;
    FOR month IN -1 .. ahead LOOP
        first := date_trunc('month', around) + make_interval(months => month);
        name := 'messages_' || to_char(first, 'YYYY_MM');
        CONTINUE WHEN EXISTS (SELECT FROM pg_inherits
                              WHERE inhparent = 'messages'::regclass AND inhrelid = to_regclass(name));
        IF to_regclass(name) IS NOT NULL THEN
            lacking := lacking || format('%s: it is there, and no partition of messages', name);
            CONTINUE;
        END IF;
        BEGIN
            -- Whoever stores waits: a row on its way to the default partition would be refused once this one is there.
            -- Whoever reads the default partition for long (a dump) is not waited for: IMs would wait with us.
            LOCK TABLE ONLY messages IN SHARE ROW EXCLUSIVE MODE;
            LOCK TABLE messages_default IN ACCESS EXCLUSIVE MODE;
            EXECUTE format('CREATE TABLE %I (LIKE messages INCLUDING ALL)', name);
            EXECUTE format('WITH moved AS (DELETE FROM messages_default WHERE sent_at >= %L AND sent_at < %L RETURNING *)'
                           ' INSERT INTO %I SELECT * FROM moved', first, first + interval '1 month', name);
            EXECUTE format('ALTER TABLE messages ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                           name, first, first + interval '1 month');
        EXCEPTION WHEN OTHERS THEN
            lacking := lacking || format('%s: %s', name, SQLERRM);
        END;
    END LOOP;
    RETURN lacking;
END $$;
REVOKE ALL ON FUNCTION ensure_partitions FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_partitions TO lcs_archiving;
