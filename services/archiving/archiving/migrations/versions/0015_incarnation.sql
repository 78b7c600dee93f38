-- A number of a name is good in the archive that gave it. One that is restored from a backup has given others since, so
-- whoever keeps numbers (or a place in the archive) is told apart by the archive's incarnation: it is another after each
-- restore (docs/decisions/0025).

SET LOCAL search_path = archive;

CREATE TABLE incarnation (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    since timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE incarnation IS 'one row: which transaction wrote it is part of the incarnation; update it, and the incarnation is another';
INSERT INTO incarnation DEFAULT VALUES;

-- What differs after a restore: the cluster's identifier in another cluster, the timeline after a recovery to a point in
-- time, the database's number, the tables' numbers after a dump, and who wrote the row after rows alone were replaced.
-- It is asked with each batch: without a search_path to set it takes half of the time.
CREATE FUNCTION evidence() RETURNS uuid LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT md5(concat_ws(' ',
        (SELECT system_identifier FROM pg_control_system()), left(pg_walfile_name(pg_current_wal_insert_lsn()), 8),
        (SELECT oid FROM pg_database WHERE datname = current_database()),
        to_regclass('archive.users')::oid, to_regclass('archive.conversations')::oid,
        to_regclass('archive.content_types')::oid, to_regclass('archive.rules')::oid, to_regclass('archive.agents')::oid,
        to_regclass('archive.messages')::oid, i.xmin, extract(epoch FROM i.since)))::uuid FROM archive.incarnation AS i);
END $$;
CREATE FUNCTION incarnation() RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = archive, pg_temp AS $$ SELECT evidence() $$;

-- Raise unless the archive is of that incarnation, and have it stay so until the transaction ends. It is no data error:
-- nothing is wrong with what was to be stored.
CREATE FUNCTION hold_incarnation(expected uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
BEGIN
    LOCK TABLE incarnation, users, conversations, content_types, rules, agents IN ROW SHARE MODE;
    IF evidence() IS DISTINCT FROM expected THEN
        RAISE EXCEPTION 'the archive is not the one that gave these numbers: was it restored?'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END $$;

-- Who takes names away, or gives them other numbers, renews it. Batches under way are committed first, later ones wait.
CREATE FUNCTION renew_incarnation() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
BEGIN
    LOCK TABLE incarnation IN EXCLUSIVE MODE;
    UPDATE incarnation SET since = clock_timestamp();
    RETURN NULL;
END $$;
DO $$
DECLARE
    numbered text;
BEGIN
    FOREACH numbered IN ARRAY ARRAY['users', 'conversations', 'content_types', 'rules', 'agents'] LOOP
        EXECUTE format('CREATE TRIGGER renew_incarnation BEFORE DELETE OR TRUNCATE OR UPDATE OF id, %I ON %I'
                       ' FOR EACH STATEMENT EXECUTE FUNCTION renew_incarnation()',
                       CASE numbered WHEN 'agents' THEN 'agent' ELSE 'name' END, numbered);
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER renew_incarnation', numbered);
    END LOOP;
END $$;

-- Note the agents' numbers that are now archived or parked. All agents must be there: numbers never vanish in silence.
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

CREATE OR REPLACE FUNCTION log_agent(
    agent_id integer, front_end text, confirmed bigint, confirmed_at timestamptz, ended_at timestamptz
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
BEGIN
    UPDATE agents AS a
    SET front_end = coalesce(log_agent.front_end, a.front_end),
        confirmed = greatest(a.confirmed, log_agent.confirmed),
        confirmed_at = greatest(a.confirmed_at, log_agent.confirmed_at),
        ended_at = coalesce(log_agent.ended_at, a.ended_at),
        last_seen = now()
    WHERE a.id = log_agent.agent_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no agent %', agent_id USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END $$;
-- Workers of before 0004 call this one.
CREATE OR REPLACE FUNCTION log_agent(agent_id integer, front_end text, confirmed bigint, ended_at timestamptz) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    SELECT log_agent(log_agent.agent_id, log_agent.front_end, log_agent.confirmed, NULL, log_agent.ended_at)
$$;

REVOKE ALL ON FUNCTION evidence, incarnation, hold_incarnation, renew_incarnation FROM PUBLIC;
GRANT EXECUTE ON FUNCTION incarnation TO lcs_archiving, lcs_admin;
GRANT EXECUTE ON FUNCTION hold_incarnation TO lcs_archiving;
