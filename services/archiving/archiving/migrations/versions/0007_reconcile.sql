-- The reconciliation reads the IMs of its time once, and of sessions that go over its ends those alone that do: each
-- conversation is looked up in an index, so what it takes is bounded by the IMs of the time, not by all there are.

CREATE OR REPLACE FUNCTION cdr.reconcile(since timestamptz, until timestamptz)
RETURNS TABLE (conversation text, recorded bigint, passed bigint, archived bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = cdr, archive, pg_temp SET work_mem = '64MB' AS $$
#variable_conflict use_column
DECLARE
    low uuid := lowest_id(since);
    high uuid := lowest_id(until + interval '1 millisecond');
BEGIN
    RETURN QUERY
    WITH talked AS MATERIALIZED (
        SELECT s.conversation, sum(s.archived)::bigint AS recorded, sum(total_of(s.passed))::bigint AS passed,
               max(s.last_at) AS last_at
        FROM sessions AS s WHERE s.started_at >= since AND s.started_at < until GROUP BY s.conversation
    ), kept AS MATERIALIZED (
        SELECT c.id, c.name AS conversation, k.n
        FROM (
            SELECT m.conversation_id, count(*) AS n FROM archive.messages AS m
            WHERE m.sent_at >= since AND m.sent_at < until AND m.id >= low AND m.id < high
            GROUP BY m.conversation_id
        ) AS k JOIN archive.conversations AS c ON c.id = k.conversation_id
    ), earlier AS ( -- sessions begun before that go on: what belongs to them is not counted here
        SELECT s.id, (
            SELECT count(*) FROM archive.messages AS m
            WHERE m.conversation_id = s.id AND m.sent_at >= since AND m.id >= low
              AND m.sent_at < until AND m.id < high AND m.sent_at <= s.last_at) AS n
        FROM (
            SELECT k.id, max(s.last_at) AS last_at FROM kept AS k JOIN sessions AS s USING (conversation)
            WHERE s.started_at < since AND s.last_at >= since GROUP BY k.id
        ) AS s
    ), late AS ( -- sessions begun within these times that go on after them
        SELECT t.conversation, (
            SELECT count(*) FROM archive.messages AS m
            WHERE m.conversation_id = c.id AND m.sent_at >= until AND m.id >= lowest_id(until)
              AND m.sent_at <= t.last_at) AS n
        FROM talked AS t JOIN archive.conversations AS c ON c.name = t.conversation
        WHERE t.last_at >= until
    )
    SELECT coalesce(t.conversation, k.conversation), coalesce(t.recorded, 0), coalesce(t.passed, 0),
           coalesce(k.n, 0) - coalesce(e.n, 0) + coalesce(l.n, 0)
    FROM kept AS k LEFT JOIN earlier AS e ON e.id = k.id
    FULL JOIN talked AS t ON t.conversation = k.conversation
    LEFT JOIN late AS l ON l.conversation = t.conversation;
END $$;
