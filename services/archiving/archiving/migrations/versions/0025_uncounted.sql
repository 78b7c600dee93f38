-- A confirm may come after its IM was answered: refused, or on its way under another number. Then the number doesn't count.

SET LOCAL search_path = archive;

ALTER TABLE agents ADD COLUMN uncounted int8multirange NOT NULL DEFAULT '{}';
COMMENT ON COLUMN agents.uncounted IS 'numbers that the agent says stand for no IM more: call detail records don''t count them';

CREATE OR REPLACE FUNCTION counts(agent agents, seq bigint) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT (agent.ended_at IS NULL OR seq <= agent.confirmed) AND NOT agent.uncounted @> seq
$$;

CREATE FUNCTION log_agent(
    agent_id integer, front_end text, confirmed bigint, confirmed_at timestamptz, ended_at timestamptz,
    uncounted int8multirange
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
BEGIN
    UPDATE agents AS a
    SET front_end = coalesce(log_agent.front_end, a.front_end),
        confirmed = greatest(a.confirmed, log_agent.confirmed),
        confirmed_at = greatest(a.confirmed_at, log_agent.confirmed_at),
        ended_at = coalesce(log_agent.ended_at, a.ended_at),
        uncounted = a.uncounted + log_agent.uncounted,
        last_seen = now()
    WHERE a.id = log_agent.agent_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no agent %', agent_id USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END $$;
-- Workers of before call this one.
CREATE OR REPLACE FUNCTION log_agent(
    agent_id integer, front_end text, confirmed bigint, confirmed_at timestamptz, ended_at timestamptz
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
BEGIN
    PERFORM log_agent(agent_id, front_end, confirmed, confirmed_at, ended_at, '{}');
END $$;

REVOKE ALL ON FUNCTION log_agent(integer, text, bigint, timestamptz, timestamptz, int8multirange) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION log_agent(integer, text, bigint, timestamptz, timestamptz, int8multirange) TO lcs_archiving;
