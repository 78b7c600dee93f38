-- What cannot be stored as IMs is kept here byte for byte, until it can be or until somebody discards it.

SET LOCAL search_path = archive;

CREATE TABLE parked (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key bytea NOT NULL UNIQUE,
    parked_at timestamptz NOT NULL DEFAULT now(),
    reason text NOT NULL,
    body bytea NOT NULL,
    properties jsonb NOT NULL,
    pool text,
    agent uuid,
    first_seq bigint,
    ims integer NOT NULL,
    state text NOT NULL DEFAULT 'parked' CHECK (state IN ('parked', 'replaying', 'replayed', 'discarded')),
    tries integer NOT NULL DEFAULT 0,
    changed_at timestamptz,
    changed_by text,
    changed_why text
);
COMMENT ON COLUMN parked.key IS 'a digest of what came: what comes again is parked once';
COMMENT ON COLUMN parked.ims IS 'how many IMs it holds, as far as anybody can tell';
COMMENT ON COLUMN parked.tries IS 'of the replay that is asked for: one that kills the worker is not tried for ever';
CREATE INDEX parked_waiting ON parked (id) WHERE state IN ('parked', 'replaying');

CREATE FUNCTION park(
    key bytea, reason text, body bytea, properties jsonb, pool text, agent uuid, first_seq bigint, ims integer
) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    INSERT INTO parked (key, reason, body, properties, pool, agent, first_seq, ims)
    VALUES (park.key, park.reason, park.body, park.properties, park.pool, park.agent, park.first_seq, park.ims)
    ON CONFLICT DO NOTHING
$$;

CREATE FUNCTION count_parked(OUT parked_ims bigint, OUT replaying bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    SELECT coalesce(sum(ims), 0)::bigint, count(*) FILTER (WHERE state = 'replaying')
    FROM parked WHERE state IN ('parked', 'replaying')
$$;

-- Ask for a replay: of some, or (null) of all that are parked. Returns how many that are.
CREATE FUNCTION request_replay(ids bigint[], who text, why text) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    WITH asked AS (
        UPDATE parked SET state = 'replaying', tries = 0, changed_at = now(), changed_by = who, changed_why = why
        WHERE state = 'parked' AND (ids IS NULL OR id = ANY (ids)) RETURNING 1
    ) SELECT count(*) FROM asked
$$;

-- Give up on some; what came is kept, and is still counted as parked in completeness.
CREATE FUNCTION discard_parked(ids bigint[], who text, why text) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    WITH given_up AS (
        UPDATE parked SET state = 'discarded', changed_at = now(), changed_by = who, changed_why = why
        WHERE state = 'parked' AND id = ANY (ids) RETURNING 1
    ) SELECT count(*) FROM given_up
$$;

-- The next to replay. One that was tried twice without an end may have killed who tried it: it is parked again.
CREATE FUNCTION take_replay(OUT id bigint, OUT body bytea, OUT properties jsonb)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
#variable_conflict use_column
BEGIN
    UPDATE parked SET state = 'parked', reason = 'its replay was cut short twice: ' || reason
    WHERE state = 'replaying' AND tries >= 2;
    UPDATE parked AS p SET tries = p.tries + 1
    WHERE p.id = (SELECT n.id FROM parked AS n WHERE n.state = 'replaying' ORDER BY n.id LIMIT 1)
    RETURNING p.id, p.body, p.properties INTO take_replay.id, take_replay.body, take_replay.properties;
END $$;

-- How a replay ended: failure is null if everything of it is archived now, else the new reason.
CREATE FUNCTION end_replay(id bigint, failure text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    UPDATE parked AS p
    SET state = CASE WHEN failure IS NULL THEN 'replayed' ELSE 'parked' END, reason = coalesce(failure, p.reason)
    WHERE p.id = end_replay.id
$$;

CREATE VIEW parked_ims AS
SELECT id, parked_at, reason, body, properties, pool, agent, first_seq, ims, state, changed_at, changed_by, changed_why
FROM parked;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA archive FROM PUBLIC;
GRANT EXECUTE ON FUNCTION park, count_parked, request_replay, take_replay, end_replay TO lcs_archiving;
GRANT EXECUTE ON FUNCTION request_replay, discard_parked TO lcs_admin;
GRANT SELECT ON parked_ims TO lcs_admin;
