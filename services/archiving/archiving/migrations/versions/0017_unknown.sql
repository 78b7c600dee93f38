-- Whoever reads the archive is told of all rows, also of those whose names are not there any more: they are shown as
-- unknown, with their number, in words that no address, key or type can be.

SET LOCAL search_path = archive;

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

CREATE OR REPLACE VIEW traces AS
SELECT m.id, m.sent_at, m.stored_at, coalesce(p.name, 'unknown pool of agent ' || m.agent_id) AS pool, a.front_end,
       coalesce(a.agent, '00000000-0000-0000-0000-000000000000') AS agent, m.seq, m.policy_version,
       coalesce(r.name, 'unknown rule ' || m.rule_id) AS rule, d.ims AS publish_ims, d.published_at,
       coalesce(f.last_confirmed_at, CASE WHEN a.confirmed = d.first_seq + d.ims - 1 THEN a.confirmed_at END) AS confirmed_at,
       d.consumed_at, b.worker, b.number AS batch, b.ims AS batch_ims, b.stored_at AS batch_stored_at,
       n.last_committed_at AS committed_at, n.last_acknowledged_at AS acknowledged_at
FROM messages AS m
LEFT JOIN agents AS a ON a.id = m.agent_id
LEFT JOIN pools AS p ON p.id = a.pool_id
LEFT JOIN rules AS r ON r.id = m.rule_id
LEFT JOIN LATERAL (
    SELECT max(first_seq) AS first_seq FROM publishes AS q WHERE q.agent_id = m.agent_id AND q.first_seq <= m.seq
) AS q ON true
LEFT JOIN publishes AS d ON d.agent_id = m.agent_id AND d.first_seq = q.first_seq AND m.seq < d.first_seq + d.ims
LEFT JOIN batches AS b ON b.id = d.batch_id
LEFT JOIN LATERAL (
    SELECT last_confirmed_at FROM publishes AS f
    WHERE f.agent_id = d.agent_id AND f.first_seq = d.first_seq + d.ims LIMIT 1
) AS f ON true
LEFT JOIN LATERAL (
    SELECT last_committed_at, last_acknowledged_at FROM batches AS n
    WHERE n.worker = b.worker AND n.number > b.number ORDER BY n.number LIMIT 1
) AS n ON true;

CREATE OR REPLACE VIEW completeness AS
SELECT a.agent, coalesce(p.name, 'unknown pool ' || a.pool_id) AS pool, a.front_end, a.first_seen, a.last_seen, a.ended_at,
       k.highest AS accepted, size_of(a.archived) AS archived, size_of(a.parked) AS parked,
       size_of(k.missing) AS missing, k.missing AS missing_numbers
FROM agents AS a
LEFT JOIN pools AS p ON p.id = a.pool_id
CROSS JOIN LATERAL (SELECT greatest(a.confirmed, upper(a.archived) - 1, upper(a.parked) - 1) AS h) AS g
CROSS JOIN LATERAL (SELECT g.h AS highest,
                           int8multirange(int8range(1, g.h + 1)) - a.archived - a.parked AS missing) AS k;

-- Whether the text of an IM contains another, in upper or lower case; yes, if it can't be read: nobody can tell.
CREATE FUNCTION may_contain(id uuid, sent_at timestamptz, part text) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = archive, pg_temp AS $$
BEGIN
    RETURN (SELECT strpos(lower(m.body), lower(part)) > 0 FROM messages AS m
            WHERE m.id = may_contain.id AND m.sent_at = may_contain.sent_at);
EXCEPTION WHEN data_corrupted OR internal_error OR data_exception THEN
    RETURN true;
END $$;
REVOKE ALL ON FUNCTION may_contain FROM PUBLIC;
GRANT EXECUTE ON FUNCTION may_contain TO lcs_admin;
