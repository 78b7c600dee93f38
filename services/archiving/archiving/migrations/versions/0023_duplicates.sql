-- An IM that is sent to two front ends is stored once and counted twice by the call detail records: each time that it came
-- under another number is kept, so that the two agree.

SET LOCAL search_path = archive;

CREATE TABLE duplicates (
    agent_id integer NOT NULL,
    seq bigint NOT NULL,
    id uuid NOT NULL,
    sent_at timestamptz NOT NULL,
    conversation_id bigint NOT NULL,
    PRIMARY KEY (agent_id, seq)
);
COMMENT ON TABLE duplicates IS 'numbers of IMs that are in messages under another number; one that comes again is none';
CREATE INDEX duplicates_id ON duplicates (id);

CREATE VIEW counted AS
SELECT id, sent_at, conversation_id FROM messages UNION ALL SELECT id, sent_at, conversation_id FROM duplicates;

CREATE OR REPLACE FUNCTION log_messages(
    expected integer, agent_ids integer[], archived int8multirange[], parked int8multirange[],
    OUT inserted integer, OUT conflicting_agent_ids integer[], OUT conflicting_seqs bigint[]
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
DECLARE
    columns text := (SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
                     WHERE attrelid = 'pg_temp.batch'::regclass AND attnum > 0 AND NOT attisdropped);
BEGIN
    EXECUTE format('INSERT INTO messages (%1$s) SELECT %1$s FROM pg_temp.batch ON CONFLICT DO NOTHING', columns);
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

-- As before, but by all that was taken in, and with its times widened to the minutes over which no row of a talk goes.
CREATE OR REPLACE FUNCTION cdr.reconcile(since timestamptz, until timestamptz)
RETURNS TABLE (conversation text, recorded bigint, passed bigint, archived bigint, differing bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = cdr, archive, pg_temp SET work_mem = '64MB'
SET timezone = 'UTC' AS $$
#variable_conflict use_column
DECLARE
    step interval := '1 minute';
    low timestamptz := date_bin(step, since, 'epoch');
    high timestamptz := date_bin(step, until + step - interval '1 microsecond', 'epoch');
    low_id uuid := lowest_id(low);
    high_id uuid := lowest_id(high + interval '1 millisecond');
BEGIN
    RETURN QUERY
    WITH told AS MATERIALIZED (
        SELECT s.conversation, date_trunc('minute', a.first) AS minute, sum(a.archived) AS recorded,
               sum(CASE WHEN a.passed IS NULL THEN 0 ELSE total_of(a.passed) END) AS passed, max(a.last) AS last,
               bool_or(date_trunc('minute', a.first) < date_trunc('minute', a.last)) AS crosses
        FROM activities AS a JOIN sessions AS s ON s.id = a.session_id
        WHERE a.first >= low AND a.first < high AND NOT s.orphan GROUP BY 1, 2
    ), kept AS MATERIALIZED (
        SELECT c.name AS conversation, k.minute, k.n FROM (
            SELECT m.conversation_id, date_trunc('minute', m.sent_at) AS minute, count(*) AS n FROM archive.counted AS m
            WHERE m.sent_at >= low AND m.sent_at < high AND m.id >= low_id AND m.id < high_id
            GROUP BY 1, 2
        ) AS k JOIN archive.conversations AS c ON c.id = k.conversation_id
    ), earlier AS MATERIALIZED ( -- sums begun before that go on: what belongs to them is not counted here
        SELECT s.conversation, max(a.last) AS last FROM (
            SELECT b.session_id, b.last FROM activities AS b WHERE b.first >= low - step AND b.first < low AND b.last >= low
            UNION ALL
            SELECT b.session_id, b.last FROM activities AS b
            WHERE b.last >= low AND b.first < low AND b.last - b.first > interval '1 minute'
        ) AS a JOIN sessions AS s ON s.id = a.session_id GROUP BY 1
    ), late AS MATERIALIZED ( -- sums begun within these times that go on after them
        SELECT t.conversation, max(t.last) AS last FROM told AS t GROUP BY 1 HAVING max(t.last) >= high
    ), counted AS (
        SELECT t.conversation, t.minute, t.recorded, t.passed, 0 AS archived FROM told AS t
        UNION ALL
        SELECT k.conversation, k.minute, 0, 0, k.n FROM kept AS k
        UNION ALL
        SELECT e.conversation, low, 0, 0, -(
            SELECT count(*) FROM archive.counted AS m
            WHERE m.conversation_id = c.id AND m.sent_at >= low AND m.id >= low_id AND m.sent_at < high
                  AND m.id < high_id AND m.sent_at <= e.last)
        FROM earlier AS e JOIN archive.conversations AS c ON c.name = e.conversation
        UNION ALL
        SELECT l.conversation, low, 0, 0, (
            SELECT count(*) FROM archive.counted AS m
            WHERE m.conversation_id = c.id AND m.sent_at >= high AND m.id >= lowest_id(high) AND m.sent_at <= l.last)
        FROM late AS l JOIN archive.conversations AS c ON c.name = l.conversation
    ), whole AS (
        SELECT conversation FROM told WHERE crosses UNION SELECT conversation FROM earlier
    ), compared AS (
        SELECT c.conversation, sum(c.recorded) AS recorded, sum(c.passed) AS passed, sum(c.archived) AS archived
        FROM counted AS c LEFT JOIN whole AS w ON w.conversation = c.conversation
        GROUP BY 1, CASE WHEN w.conversation IS NULL THEN c.minute END
    )
    SELECT conversation, sum(recorded)::bigint, sum(passed)::bigint, sum(archived)::bigint,
           count(*) FILTER (WHERE recorded <> archived)
    FROM compared GROUP BY 1;
END $$;
