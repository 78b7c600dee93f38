-- Agents' numbers: what is archived, parked, missing or still on its way.
-- An agent is one start of a front end; it numbers its IMs 1, 2, 3, … (docs/decisions/0003).

SET LOCAL search_path = archive;

-- Return how many numbers there are in some ranges.
CREATE OR REPLACE FUNCTION size_of(numbers int8multirange) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(sum(upper(n) - lower(n)), 0)::bigint FROM unnest(numbers) AS n
$$;
REVOKE ALL ON FUNCTION size_of FROM PUBLIC;
GRANT EXECUTE ON FUNCTION size_of TO lcs_admin;

-- Note agents' numbers as archived or parked. Raise object_not_in_prerequisite_state if an agent isn't there:
-- numbers never vanish in silence.
CREATE OR REPLACE FUNCTION log_numbers(agent_ids integer[], archived int8multirange[], parked int8multirange[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
DECLARE
    found integer;
BEGIN
    PERFORM FROM agents AS a WHERE a.id = ANY (agent_ids) ORDER BY a.id FOR UPDATE;
    GET DIAGNOSTICS found = ROW_COUNT;
    IF found < cardinality(agent_ids) THEN
        RAISE EXCEPTION 'of the agents % only % are known', agent_ids, found
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    UPDATE agents AS a
    SET archived = a.archived + new.archived,
        parked = (a.parked + new.parked) - (a.archived + new.archived),
        last_seen = now()
    FROM unnest(agent_ids, log_numbers.archived, log_numbers.parked) AS new (id, archived, parked)
    WHERE a.id = new.id;
END $$;
REVOKE ALL ON FUNCTION log_numbers FROM PUBLIC;
GRANT EXECUTE ON FUNCTION log_numbers TO lcs_archiving;

-- Note how far an agent says it got, and which of its numbers stand for no IM. Raise
-- object_not_in_prerequisite_state if the agent isn't there.
-- A front end's name may be null: a message says how many IMs it holds.
CREATE OR REPLACE FUNCTION log_agent(
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
REVOKE ALL ON FUNCTION log_agent(integer, text, bigint, timestamptz, timestamptz, int8multirange) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION log_agent(integer, text, bigint, timestamptz, timestamptz, int8multirange) TO lcs_archiving;

-- As the function above, for workers of before migration 0025.
CREATE OR REPLACE FUNCTION log_agent(
    agent_id integer, front_end text, confirmed bigint, confirmed_at timestamptz, ended_at timestamptz
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
BEGIN
    PERFORM log_agent(agent_id, front_end, confirmed, confirmed_at, ended_at, '{}');
END $$;
REVOKE ALL ON FUNCTION log_agent(integer, text, bigint, timestamptz, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION log_agent(integer, text, bigint, timestamptz, timestamptz) TO lcs_archiving;

-- As the function above, for workers of before migration 0004.
CREATE OR REPLACE FUNCTION log_agent(agent_id integer, front_end text, confirmed bigint, ended_at timestamptz) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    SELECT log_agent(log_agent.agent_id, log_agent.front_end, log_agent.confirmed, NULL, log_agent.ended_at)
$$;
REVOKE ALL ON FUNCTION log_agent(integer, text, bigint, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION log_agent(integer, text, bigint, timestamptz) TO lcs_archiving;

-- Note how far agents got, as their front end tells the admin API (docs/decisions/0026).
CREATE OR REPLACE FUNCTION log_witness(front_end text, pool text, agents uuid[], confirmed bigint[], ended boolean[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    INSERT INTO witnesses AS w (agent, pool, front_end, confirmed, ended_at)
    SELECT n.agent, log_witness.pool, log_witness.front_end, max(n.confirmed), CASE WHEN bool_or(n.ended) THEN now() END
    FROM unnest(agents, log_witness.confirmed, log_witness.ended) AS n (agent, confirmed, ended)
    GROUP BY n.agent ORDER BY n.agent
    ON CONFLICT (agent) DO UPDATE
    SET confirmed = greatest(w.confirmed, excluded.confirmed),
        read = CASE WHEN excluded.confirmed > w.confirmed AND w.told_at < (SELECT until FROM reading)
                    THEN w.confirmed ELSE w.read END,
        told_at = CASE WHEN excluded.confirmed > w.confirmed THEN now() ELSE w.told_at END,
        ended_at = coalesce(w.ended_at, excluded.ended_at),
        last_told = now()
$$;
REVOKE ALL ON FUNCTION log_witness FROM PUBLIC;
GRANT EXECUTE ON FUNCTION log_witness TO lcs_admin;

-- Note that what was put on the queue so many seconds ago, or earlier, has been read by some worker.
CREATE OR REPLACE FUNCTION log_reading(seconds double precision) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    UPDATE reading SET until = greatest(until, clock_timestamp() - make_interval(secs => seconds))
$$;
REVOKE ALL ON FUNCTION log_reading FROM PUBLIC;
GRANT EXECUTE ON FUNCTION log_reading TO lcs_archiving;

-- Show of each agent what is archived, parked, missing, waiting and disowned.
-- Up to "heard" something came that was put on the queue later, or the queue was read past the time at which
-- the number was told: what is not there is missing. What lies above waits: it is on its way, as far as
-- anybody knows.
CREATE OR REPLACE VIEW completeness AS
SELECT g.agent, g.pool, g.front_end, g.first_seen, g.last_seen, g.ended_at,
       size_of(g.archived) + size_of(g.parked) + size_of(k.missing) + size_of(k.waiting) AS accepted,
       size_of(g.archived) AS archived, size_of(g.parked) AS parked,
       size_of(k.missing) AS missing, k.missing AS missing_numbers,
       size_of(k.waiting) AS waiting,
       size_of(k.disowned) AS disowned, k.disowned AS disowned_numbers, d.at AS disowned_at, d.by AS disowned_by, d.why AS disowned_why
FROM (
    SELECT coalesce(a.agent, w.agent) AS agent, coalesce(p.name, w.pool, 'unknown pool ' || a.pool_id) AS pool,
           coalesce(a.front_end, w.front_end) AS front_end, least(a.first_seen, w.first_told) AS first_seen,
           greatest(a.last_seen, w.last_told) AS last_seen, coalesce(a.ended_at, w.ended_at) AS ended_at,
           coalesce(a.archived, '{}') AS archived, coalesce(a.parked, '{}') AS parked,
           -- An int8range can't end with the greatest bigint.
           least(greatest(0, a.confirmed, upper(a.archived) - 1, upper(a.parked) - 1, w.read,
                          CASE WHEN w.told_at < r.until THEN w.confirmed END), 9223372036854775806) AS heard,
           least(greatest(0, w.confirmed), 9223372036854775806) AS told
    FROM reading AS r
    CROSS JOIN (agents AS a FULL JOIN witnesses AS w ON w.agent = a.agent)
    LEFT JOIN pools AS p ON p.id = a.pool_id
) AS g
LEFT JOIN disowned AS d ON d.agent = g.agent
CROSS JOIN LATERAL (
    SELECT int8multirange(int8range(1, g.heard + 1)) - g.archived - g.parked AS missing,
           int8multirange(int8range(g.heard + 1, greatest(g.heard, g.told) + 1)) AS waiting
) AS n
CROSS JOIN LATERAL (
    SELECT n.missing - coalesce(d.numbers, '{}') AS missing, n.waiting - coalesce(d.numbers, '{}') AS waiting,
           (n.missing + n.waiting) * coalesce(d.numbers, '{}') AS disowned
) AS k;
GRANT SELECT ON completeness TO lcs_admin;

-- Count what an agent lacks now as missing no longer; return how many numbers those are, null if nobody knows
-- the agent.
CREATE OR REPLACE FUNCTION disown_agent(agent uuid, who text, why text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
#variable_conflict use_column
DECLARE
    lacking int8multirange;
BEGIN
    SELECT missing_numbers INTO lacking FROM completeness AS c WHERE c.agent = disown_agent.agent;
    IF NOT isempty(lacking) THEN
        INSERT INTO disowned AS d (agent, numbers, by, why) VALUES (disown_agent.agent, lacking, who, why)
        ON CONFLICT (agent) DO UPDATE
        SET numbers = d.numbers + excluded.numbers, at = now(), by = excluded.by, why = excluded.why;
    END IF;
    RETURN CASE WHEN lacking IS NOT NULL THEN size_of(lacking) END;
END $$;
REVOKE ALL ON FUNCTION disown_agent FROM PUBLIC;
GRANT EXECUTE ON FUNCTION disown_agent TO lcs_admin;

-- Count an agent's disowned numbers as missing again; return how many those were.
CREATE OR REPLACE FUNCTION own_agent(agent uuid) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    WITH gone AS (DELETE FROM disowned AS d WHERE d.agent = own_agent.agent RETURNING numbers)
    SELECT coalesce((SELECT size_of(numbers) FROM gone), 0)
$$;
REVOKE ALL ON FUNCTION own_agent FROM PUBLIC;
GRANT EXECUTE ON FUNCTION own_agent TO lcs_admin;

-- Show the time before which all that was put on the queue has been read.
CREATE OR REPLACE VIEW read_until AS SELECT nullif(until, 'epoch') AS until FROM reading;
GRANT SELECT ON read_until TO lcs_admin;
