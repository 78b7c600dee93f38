-- An IM that was refused may be in messages all the same: its confirm came too late, or got lost. If its agent says so, it
-- counts there as often as it was accepted, and that may be never.

SET LOCAL search_path = archive;

COMMENT ON COLUMN agents.uncounted IS 'numbers that the agent says stand for no IM it accepted: what is in messages under one counts by others alone';

-- An IM in messages counts as often as numbers count under which it came, at least once unless its agent says that it
-- stands for none; one that is not there, never.
CREATE OR REPLACE VIEW counted AS
SELECT m.id, m.sent_at, m.conversation_id FROM messages AS m
WHERE NOT EXISTS (SELECT FROM agents AS a WHERE a.uncounted <> '{}' AND a.id = m.agent_id AND a.uncounted @> m.seq)
UNION ALL
SELECT d.id, d.sent_at, d.conversation_id FROM (
    SELECT d.id, d.sent_at, d.conversation_id, counts(a, m.seq) OR a.uncounted @> m.seq AS first_is_told,
           row_number() OVER (PARTITION BY d.id, d.sent_at, d.conversation_id) AS place
    FROM duplicates AS d JOIN agents AS b ON b.id = d.agent_id AND counts(b, d.seq)
    JOIN messages AS m ON m.id = d.id AND m.sent_at = d.sent_at JOIN agents AS a ON a.id = m.agent_id
) AS d WHERE d.place > CASE WHEN d.first_is_told THEN 0 ELSE 1 END;

-- As before, but what is set aside counts by itself where its IM counts in messages by other numbers alone.
CREATE OR REPLACE FUNCTION cdr.reconcile(since timestamptz, until timestamptz)
RETURNS TABLE (conversation text, recorded bigint, passed bigint, archived bigint, differing bigint, parked bigint,
               discarded bigint)
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
    ), parked AS ( -- a number that is parked twice, alone and with its whole message, is one
        SELECT DISTINCT ON (n.agent, n.seq) n.*, p.state = 'discarded' AS discarded
        FROM archive.parked_numbers AS n
        JOIN archive.parked AS p ON p.id = n.parked_id AND p.state <> 'replayed'
        JOIN archive.agents AS a ON a.agent = n.agent AND a.parked @> n.seq AND archive.counts(a, n.seq)
        WHERE n.sent_at >= low AND n.sent_at <= greatest(high, (SELECT max(l.last) FROM late AS l))
        ORDER BY n.agent, n.seq, p.state = 'discarded', p.id
    ), aside AS MATERIALIZED ( -- where an IM counts in messages though its number doesn't, it stands for one that does
        SELECT p.conversation, p.sent_at, p.discarded
        FROM (SELECT p.*, row_number() OVER (PARTITION BY p.im ORDER BY p.agent, p.seq) AS place FROM parked AS p) AS p
        WHERE p.place > 1 OR NOT EXISTS (
            SELECT FROM archive.messages AS m JOIN archive.agents AS a ON a.id = m.agent_id
            WHERE m.id = p.im AND m.sent_at = p.sent_at AND NOT archive.counts(a, m.seq)
                  AND NOT a.uncounted @> m.seq AND NOT EXISTS (
                SELECT FROM archive.duplicates AS d JOIN archive.agents AS b ON b.id = d.agent_id
                WHERE d.id = m.id AND archive.counts(b, d.seq)))
    ), counted AS (
        SELECT t.conversation, t.minute, t.recorded, t.passed, 0 AS archived, 0 AS parked, 0 AS discarded FROM told AS t
        UNION ALL
        SELECT k.conversation, k.minute, 0, 0, k.n, 0, 0 FROM kept AS k
        UNION ALL
        SELECT e.conversation, low, 0, 0, -(
            SELECT count(*) FROM archive.counted AS m
            WHERE m.conversation_id = c.id AND m.sent_at >= low AND m.id >= low_id AND m.sent_at < high
                  AND m.id < high_id AND m.sent_at <= e.last), 0, 0
        FROM earlier AS e JOIN archive.conversations AS c ON c.name = e.conversation
        UNION ALL
        SELECT l.conversation, low, 0, 0, (
            SELECT count(*) FROM archive.counted AS m
            WHERE m.conversation_id = c.id AND m.sent_at >= high AND m.id >= lowest_id(high) AND m.sent_at <= l.last), 0, 0
        FROM late AS l JOIN archive.conversations AS c ON c.name = l.conversation
        UNION ALL
        SELECT a.conversation, date_trunc('minute', a.sent_at), 0, 0, 0, (NOT a.discarded)::integer, a.discarded::integer
        FROM aside AS a
        LEFT JOIN earlier AS e ON e.conversation = a.conversation LEFT JOIN late AS l ON l.conversation = a.conversation
        WHERE CASE WHEN a.sent_at < high THEN e.last IS NULL OR a.sent_at > e.last ELSE a.sent_at <= l.last END
    ), whole AS (
        SELECT conversation FROM told WHERE crosses UNION SELECT conversation FROM earlier
    ), compared AS (
        SELECT c.conversation, sum(c.recorded) AS recorded, sum(c.passed) AS passed, sum(c.archived) AS archived,
               sum(c.parked) AS parked, sum(c.discarded) AS discarded
        FROM counted AS c LEFT JOIN whole AS w ON w.conversation = c.conversation
        GROUP BY 1, CASE WHEN w.conversation IS NULL THEN c.minute END
    )
    SELECT conversation, sum(recorded)::bigint, sum(passed)::bigint, sum(archived)::bigint,
           count(*) FILTER (WHERE recorded <> archived + parked + discarded), sum(parked)::bigint, sum(discarded)::bigint
    FROM compared GROUP BY 1;
END $$;
