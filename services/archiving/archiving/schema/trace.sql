-- By which publish and which batch an IM came, and when (docs/decisions/0012).

SET LOCAL search_path = archive;

-- Note a batch and the publishes in it: [agent_id, first_seq, ims, published, last_confirmed, consumed].
-- All times are in seconds since 1970.
CREATE OR REPLACE FUNCTION log_batch(
    worker text, number bigint, ims integer, last_committed double precision, last_acknowledged double precision,
    came json
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
DECLARE
    batch bigint;
BEGIN
    INSERT INTO batches (worker, number, ims, last_committed_at, last_acknowledged_at)
    VALUES (log_batch.worker, log_batch.number, log_batch.ims,
            to_timestamp(last_committed), to_timestamp(last_acknowledged))
    RETURNING id INTO batch;
    INSERT INTO publishes (agent_id, first_seq, ims, published_at, last_confirmed_at, consumed_at, batch_id)
    SELECT (p->>0)::integer, (p->>1)::bigint, (p->>2)::integer, to_timestamp((p->>3)::double precision),
           to_timestamp((p->>4)::double precision), to_timestamp((p->>5)::double precision), batch
    FROM json_array_elements(came) AS p
    ON CONFLICT DO NOTHING;
END $$;
REVOKE ALL ON FUNCTION log_batch FROM PUBLIC;
GRANT EXECUTE ON FUNCTION log_batch TO lcs_archiving;

-- Forget at most so many publishes and batches that are older; return how many rows that were.
CREATE OR REPLACE FUNCTION forget_traces(days integer, most integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    WITH old_publishes AS (
        DELETE FROM publishes WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM publishes WHERE consumed_at < now() - make_interval(days => days) LIMIT most)) RETURNING 1
    ), old_batches AS (
        DELETE FROM batches WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM batches WHERE stored_at < now() - make_interval(days => days) LIMIT most)) RETURNING 1
    ) SELECT (SELECT count(*) FROM old_publishes) + (SELECT count(*) FROM old_batches)
$$;
REVOKE ALL ON FUNCTION forget_traces FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_traces TO lcs_archiving;

-- Show the way of each IM: a row for each time that it came, the first where it was stored.
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
GRANT SELECT ON traces TO lcs_admin;
