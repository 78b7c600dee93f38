-- IMs: how a worker stores them, and how they are read.
-- IMs that are all new go straight into messages, by COPY (docs/decisions/0011). log_messages() is for
-- batches of which the archive knows some already.

SET LOCAL search_path = archive;

-- Return the names of a table's columns, for a statement that copies rows by name.
CREATE OR REPLACE FUNCTION columns_of(rows regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = archive, pg_temp AS $$
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
    WHERE attrelid = rows AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
$$;
REVOKE ALL ON FUNCTION columns_of FROM PUBLIC;

-- Make the partitions of the month before a day's and of the months after it; return why a month has none.
-- Rows of such a month that went to the default partition move with it. A table of its name that was detached
-- stays detached, for somebody did that on purpose.
CREATE OR REPLACE FUNCTION ensure_partitions(around timestamptz DEFAULT now(), ahead integer DEFAULT 3) RETURNS text[]
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
            EXECUTE format('WITH moved AS (DELETE FROM messages_default WHERE sent_at >= %1$L AND sent_at < %2$L'
                           ' RETURNING %3$s)'
                           ' INSERT INTO %4$I (%3$s) SELECT %3$s FROM moved',
                           first, first + interval '1 month', columns_of('messages'), name);
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

-- Return the bytes that were sent. The text beside content is made by each version of the worker, so it does
-- not count where contents are compared.
CREATE OR REPLACE FUNCTION said(body text, content bytea) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT coalesce(content, convert_to(body, 'UTF8')) $$;
REVOKE ALL ON FUNCTION said FROM PUBLIC;

-- Make the session's temporary table that log_messages() reads, for rows of these columns. Raise for a column
-- that messages lacks.
-- It has all columns of messages but stored_at, which the database itself sets; those that the worker does
-- not name are null or have their default. A worker that knows a column more than the archive waits: its rows
-- would be data errors, which are parked.
CREATE OR REPLACE FUNCTION open_batch(columns text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
DECLARE
    unknown text;
BEGIN
    SELECT string_agg(name, ', ') INTO unknown FROM unnest(columns) AS name
    WHERE NOT EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = 'messages'::regclass AND a.attnum > 0
                      AND a.attname = name AND NOT a.attisdropped);
    IF unknown IS NOT NULL THEN
        RAISE EXCEPTION 'messages has no column %: migrate the archive first', unknown;
    END IF;
    CREATE TEMPORARY TABLE batch (LIKE messages INCLUDING DEFAULTS INCLUDING GENERATED) ON COMMIT DELETE ROWS;
    ALTER TABLE batch DROP COLUMN stored_at;
    EXECUTE format('GRANT INSERT ON batch TO %I', session_user);
END $$;
REVOKE ALL ON FUNCTION open_batch FROM PUBLIC;
GRANT EXECUTE ON FUNCTION open_batch TO lcs_archiving;

-- Store the batch, each IM once, and note the agents' numbers as archived or parked (LogMessage of the
-- original).
-- Return how many IMs were new, and the agents' numbers of IMs whose id the archive knows with another
-- content: if there are any, the caller rolls back, parks them and comes again without them.
CREATE OR REPLACE FUNCTION log_messages(
    expected integer, agent_ids integer[], archived int8multirange[], parked int8multirange[],
    OUT inserted integer, OUT conflicting_agent_ids integer[], OUT conflicting_seqs bigint[]
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
DECLARE
BEGIN
    EXECUTE format('INSERT INTO messages (%1$s) SELECT %1$s FROM pg_temp.batch ON CONFLICT DO NOTHING',
                   columns_of('pg_temp.batch'));
    GET DIAGNOSTICS inserted = ROW_COUNT;
    IF inserted < expected THEN
        SELECT array_agg(b.agent_id), array_agg(b.seq) INTO conflicting_agent_ids, conflicting_seqs
        FROM pg_temp.batch AS b JOIN messages AS m USING (id, sent_at)
        WHERE (b.conversation_id, b.sender_id, b.recipient_ids, b.content_type_id, b.content_encoding,
               said(b.body, b.content))
              IS DISTINCT FROM
              (m.conversation_id, m.sender_id, m.recipient_ids, m.content_type_id, m.content_encoding,
               said(m.body, m.content));
    END IF;
    IF inserted < expected THEN
        INSERT INTO duplicates (agent_id, seq, id, sent_at, conversation_id)
        SELECT b.agent_id, b.seq, b.id, b.sent_at, b.conversation_id
        FROM pg_temp.batch AS b JOIN messages AS m USING (id, sent_at)
        WHERE (m.agent_id, m.seq) <> (b.agent_id, b.seq)
        ON CONFLICT DO NOTHING;
    END IF;
    -- Last, because until the commit it makes other workers wait that store IMs of the same agent.
    PERFORM log_numbers(agent_ids, archived, parked);
END $$;
REVOKE ALL ON FUNCTION log_messages FROM PUBLIC;
GRANT EXECUTE ON FUNCTION log_messages TO lcs_archiving;

-- Show each IM with the names of its numbers.
-- A name that is not there any more is shown as unknown, with its number, in words that no address, key or
-- type can be.
CREATE OR REPLACE VIEW archived_messages AS
SELECT m.id, m.sent_at, m.stored_at, m.conversation_id, m.sender_id, m.recipient_ids,
       coalesce(CASE WHEN s.same_as IS NOT NULL THEN (SELECT p.name FROM users AS p WHERE p.id = s.same_as) END,
                s.name, 'unknown user ' || m.sender_id) AS sender,
       ARRAY(SELECT coalesce(p.name, u.name, concat_ws(' ', 'unknown user', r.id))
             FROM unnest(m.recipient_ids) WITH ORDINALITY AS r (id, place)
             LEFT JOIN users AS u USING (id) LEFT JOIN users AS p ON p.id = u.same_as ORDER BY r.place) AS recipients,
       coalesce(CASE WHEN c.same_as IS NOT NULL THEN (SELECT d.name FROM conversations AS d WHERE d.id = c.same_as) END,
                c.name, 'unknown conversation ' || m.conversation_id) AS conversation,
       CASE WHEN m.federated THEN 'federated' ELSE 'internal' END AS scope,
       coalesce(t.name, 'unknown content type ' || m.content_type_id) AS content_type, m.body, m.content,
       coalesce(p.name, 'unknown pool of agent ' || m.agent_id) AS pool,
       coalesce(a.agent, '00000000-0000-0000-0000-000000000000') AS agent,
       m.seq, m.policy_version, coalesce(r.name, 'unknown rule ' || m.rule_id) AS rule,
       m.received_at, m.content_encoding, m.encryption,
       CASE WHEN m.spelled IS NOT NULL THEN array_replace(m.spelled, NULL, 'unknown')
            WHEN s.same_as IS NOT NULL
                 OR EXISTS (SELECT FROM users AS u WHERE u.id = ANY (m.recipient_ids) AND u.same_as IS NOT NULL)
            THEN coalesce(s.name, 'unknown user ' || m.sender_id)
                 || ARRAY(SELECT coalesce(u.name, concat_ws(' ', 'unknown user', r.id))
                          FROM unnest(m.recipient_ids) WITH ORDINALITY AS r (id, place)
                          LEFT JOIN users AS u USING (id) ORDER BY r.place) END AS spelled
FROM messages AS m
LEFT JOIN users AS s ON s.id = m.sender_id
LEFT JOIN conversations AS c ON c.id = m.conversation_id
LEFT JOIN content_types AS t ON t.id = m.content_type_id
LEFT JOIN agents AS a ON a.id = m.agent_id
LEFT JOIN pools AS p ON p.id = a.pool_id
LEFT JOIN rules AS r ON r.id = m.rule_id;
GRANT SELECT ON archived_messages TO lcs_admin;

-- Return whether the text of an IM contains another, in upper or lower case; true if it can't be read: nobody
-- can tell.
CREATE OR REPLACE FUNCTION may_contain(id uuid, sent_at timestamptz, part text) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = archive, pg_temp AS $$
BEGIN
    RETURN (SELECT strpos(lower(m.body), lower(part)) > 0 FROM messages AS m
            WHERE m.id = may_contain.id AND m.sent_at = may_contain.sent_at);
EXCEPTION WHEN data_corrupted OR internal_error OR data_exception THEN
    RETURN true;
END $$;
REVOKE ALL ON FUNCTION may_contain FROM PUBLIC;
GRANT EXECUTE ON FUNCTION may_contain TO lcs_admin;
