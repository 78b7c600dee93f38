-- By which publish and which batch an IM came, and when (docs/decisions/0012). A row a publish and a row a batch, not
-- a row an IM. What is known only afterwards (a confirm, a commit, an acknowledgement) stands in the row that follows:
-- rows are never updated.

SET LOCAL search_path = archive;

CREATE TABLE batches (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    worker text NOT NULL,
    number bigint NOT NULL,
    ims integer NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now(),
    last_committed_at timestamptz,
    last_acknowledged_at timestamptz,
    UNIQUE (worker, number)
);
COMMENT ON COLUMN batches.worker IS 'one run of a worker, which numbers its batches upwards';
COMMENT ON COLUMN batches.stored_at IS 'the same as of the IMs in messages that came by it';
COMMENT ON COLUMN batches.last_committed_at IS 'of the worker''s batch before this one';
CREATE INDEX batches_stored ON batches USING brin (stored_at);

CREATE TABLE publishes (
    agent_id integer NOT NULL,
    first_seq bigint NOT NULL,
    ims integer NOT NULL,
    published_at timestamptz,
    last_confirmed_at timestamptz,
    consumed_at timestamptz NOT NULL,
    batch_id bigint NOT NULL,
    PRIMARY KEY (agent_id, first_seq, batch_id)
);
COMMENT ON TABLE publishes IS 'AMQP messages of IMs, once for each batch they came in: one that came again is here again';
COMMENT ON COLUMN publishes.last_confirmed_at IS 'of the agent''s publish before this one';
CREATE INDEX publishes_consumed ON publishes USING brin (consumed_at);

ALTER TABLE agents ADD COLUMN confirmed_at timestamptz;
COMMENT ON COLUMN agents.confirmed_at IS 'when the last confirm came that is counted in confirmed';

-- Note a batch and the publishes in it: [agent_id, first_seq, ims, published, last_confirmed, consumed], all times in
-- seconds since 1970.
CREATE FUNCTION log_batch(
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
    INSERT INTO publishes
    SELECT (p->>0)::integer, (p->>1)::bigint, (p->>2)::integer, to_timestamp((p->>3)::double precision),
           to_timestamp((p->>4)::double precision), to_timestamp((p->>5)::double precision), batch
    FROM json_array_elements(came) AS p
    ON CONFLICT DO NOTHING;
END $$;

-- Forget some of what is older than that; returns how much.
CREATE FUNCTION forget_traces(days integer, most integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    WITH old_publishes AS (
        DELETE FROM publishes WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM publishes WHERE consumed_at < now() - make_interval(days => days) LIMIT most)) RETURNING 1
    ), old_batches AS (
        DELETE FROM batches WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM batches WHERE stored_at < now() - make_interval(days => days) LIMIT most)) RETURNING 1
    ) SELECT (SELECT count(*) FROM old_publishes) + (SELECT count(*) FROM old_batches)
$$;

-- An agent's own word how far it got, and when. Workers of before this version go on with the one without.
CREATE FUNCTION log_agent(
    agent_id integer, front_end text, confirmed bigint, confirmed_at timestamptz, ended_at timestamptz
) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    UPDATE agents AS a
    SET front_end = log_agent.front_end,
        confirmed = greatest(a.confirmed, log_agent.confirmed),
        confirmed_at = greatest(a.confirmed_at, log_agent.confirmed_at),
        ended_at = coalesce(log_agent.ended_at, a.ended_at),
        last_seen = now()
    WHERE a.id = log_agent.agent_id
$$;

-- The way of each IM: a row for each time that it came, the first where it was stored.
CREATE VIEW traces AS
SELECT m.id, m.sent_at, m.stored_at, p.name AS pool, a.front_end, a.agent, m.seq, m.policy_version, r.name AS rule,
       d.ims AS publish_ims, d.published_at,
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

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA archive FROM PUBLIC;
GRANT EXECUTE ON FUNCTION log_batch, forget_traces, log_agent(integer, text, bigint, timestamptz, timestamptz)
    TO lcs_archiving;
GRANT SELECT ON traces TO lcs_admin;
