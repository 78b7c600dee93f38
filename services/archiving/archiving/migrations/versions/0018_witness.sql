-- What agents say of themselves by another way than the queue, for a queue may be lost with all that was on it
-- (docs/decisions/0026); and numbers that an operator no longer counts as missing.

SET LOCAL search_path = archive;

-- Beside agents, not in it: workers hold those rows until they commit, and of some of these agents nothing ever came.
CREATE TABLE witnesses (
    agent uuid PRIMARY KEY,
    pool text NOT NULL,
    front_end text NOT NULL,
    confirmed bigint NOT NULL,
    told_at timestamptz NOT NULL DEFAULT now(),
    read bigint NOT NULL DEFAULT 0,
    first_told timestamptz NOT NULL DEFAULT now(),
    last_told timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz
) WITH (fillfactor = 50);
COMMENT ON TABLE witnesses IS 'how far agents got, as their front ends tell the admin API';
COMMENT ON COLUMN witnesses.told_at IS 'when it was told first that it got so far';
COMMENT ON COLUMN witnesses.read IS 'how far it had got when that was told before, if the queue had been read past it since';

CREATE TABLE reading (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    until timestamptz NOT NULL
) WITH (fillfactor = 10);
COMMENT ON COLUMN reading.until IS 'all that was put on the queue before has been read by some worker';
INSERT INTO reading VALUES (true, 'epoch');

CREATE TABLE disowned (
    agent uuid PRIMARY KEY,
    numbers int8multirange NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    by text NOT NULL,
    why text NOT NULL
);
COMMENT ON TABLE disowned IS 'numbers of agents that somebody no longer counts as missing';

CREATE FUNCTION log_witness(front_end text, pool text, agents uuid[], confirmed bigint[], ended boolean[]) RETURNS void
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

-- A worker's word: what was put on the queue so many seconds ago, or earlier, some worker has read.
CREATE FUNCTION log_reading(seconds double precision) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    UPDATE reading SET until = greatest(until, clock_timestamp() - make_interval(secs => seconds))
$$;

-- Up to "heard" something came that was put on the queue later, or the queue was read past the time at which the number was
-- told: what is not there is missing. What lies above waits: it is on its way, as far as anybody knows.
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

-- Count what an agent lacks now as missing no longer. Returns how many numbers that are; null if nobody knows the agent.
CREATE FUNCTION disown_agent(agent uuid, who text, why text) RETURNS bigint
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

-- Count them as missing again; returns how many were disowned.
CREATE FUNCTION own_agent(agent uuid) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    WITH gone AS (DELETE FROM disowned AS d WHERE d.agent = own_agent.agent RETURNING numbers)
    SELECT coalesce((SELECT size_of(numbers) FROM gone), 0)
$$;

CREATE VIEW read_until AS SELECT nullif(until, 'epoch') AS until FROM reading;

REVOKE ALL ON FUNCTION log_witness, log_reading, disown_agent, own_agent FROM PUBLIC;
GRANT EXECUTE ON FUNCTION log_reading TO lcs_archiving;
GRANT EXECUTE ON FUNCTION log_witness, disown_agent, own_agent TO lcs_admin;
GRANT SELECT ON read_until TO lcs_admin;
