-- Call detail records against the archive: do they count the same IMs? (docs/decisions/0015)

SET LOCAL search_path = archive;

-- Return the lowest id of an IM of that time (RFC 9562, 5.7): the index of messages is by id.
CREATE OR REPLACE FUNCTION cdr.lowest_id(at timestamptz) RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT rpad(lpad(to_hex(greatest(0, floor(extract(epoch FROM at) * 1000)::bigint)), 12, '0'), 32, '0')::uuid
$$;
REVOKE ALL ON FUNCTION cdr.lowest_id FROM PUBLIC;

-- Return whether a number of an agent counts.
-- It does unless the agent ended before it or says that it stands for no IM: then its publish was of unknown
-- outcome, and the IM was refused or came again under another number, which counts.
CREATE OR REPLACE FUNCTION counts(agent agents, seq bigint) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT (agent.ended_at IS NULL OR seq <= agent.confirmed) AND NOT agent.uncounted @> seq
$$;
REVOKE ALL ON FUNCTION counts FROM PUBLIC;

-- Show each IM in messages as often as numbers count under which it came.
-- That is at least once, unless its agent says that it stands for none. An IM that is not there never counts.
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

-- Return how many IMs were parked in these full minutes, and wait or are discarded, of which nobody can tell
-- the conversation, or that are not accounted for.
-- What an agent states of itself is none.
CREATE OR REPLACE FUNCTION cdr.count_unattributed(since timestamptz, until timestamptz) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    SELECT coalesce(sum(greatest(0, p.ims - (
        SELECT count(*) FROM parked_numbers AS n JOIN agents AS a ON a.agent = n.agent
        WHERE n.parked_id = p.id AND (a.parked @> n.seq OR a.archived @> n.seq)))), 0)::bigint
    FROM parked AS p
    WHERE p.kind = 'im' AND p.properties ->> 'type' IS DISTINCT FROM 'lcs.agent.v1'
          AND p.state <> 'replayed' AND p.parked_at >= date_bin('1 minute', since, 'epoch')
          AND p.parked_at < date_bin('1 minute', until + interval '1 minute' - interval '1 microsecond', 'epoch')
$$;
REVOKE ALL ON FUNCTION cdr.count_unattributed FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdr.count_unattributed TO lcs_admin;

-- Return of each conversation how many IMs the records and the archive have of these times, and in how many
-- minutes the two differ.
-- The times are widened to full minutes, over which no row of a talk goes. Sums of front ends of before
-- migration 0021 go over minutes: a conversation that has one is compared as a whole, and each sum counts
-- where it begins. An IM that came twice counts twice. IMs that are set aside count beside what is archived:
-- those whose numbers are accounted for as parked and not as archived, and that are still in parked. So what
-- is deleted by hand, there or in messages, differs. The IMs of the time are read once, and of sessions that
-- go over its ends those alone that do.
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
        SELECT DISTINCT ON (n.agent, n.seq) n.agent, n.seq, n.conversation, n.im, n.sent_at, p.state = 'discarded' AS discarded
        FROM archive.parked_numbers AS n
        JOIN archive.parked AS p ON p.id = n.parked_id AND p.state <> 'replayed'
        JOIN archive.agents AS a ON a.agent = n.agent AND a.parked @> n.seq AND archive.counts(a, n.seq)
        WHERE n.sent_at >= low AND n.sent_at <= greatest(high, (SELECT max(l.last) FROM late AS l))
        ORDER BY n.agent, n.seq, p.state = 'discarded', p.id
    ), aside AS MATERIALIZED ( -- where an IM counts in messages though its number doesn't, it stands for one that does
        SELECT p.conversation, p.sent_at, p.discarded
        FROM (SELECT p.im, p.conversation, p.sent_at, p.discarded,
                     row_number() OVER (PARTITION BY p.im ORDER BY p.agent, p.seq) AS place FROM parked AS p) AS p
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
REVOKE ALL ON FUNCTION cdr.reconcile FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdr.reconcile TO lcs_admin;
