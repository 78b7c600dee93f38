-- Call detail records that can't be stored are parked beside IMs, a line each: seen, replayed or discarded in one place.

SET LOCAL search_path = archive;

ALTER TABLE parked ADD COLUMN kind text NOT NULL DEFAULT 'im' CHECK (kind IN ('im', 'cdr'));
COMMENT ON COLUMN parked.kind IS 'im; or cdr: of call detail records, which hold no IM';
CREATE OR REPLACE VIEW parked_ims AS
SELECT id, parked_at, reason, body, properties, pool, agent, first_seq, ims, state, changed_at, changed_by, changed_why,
       kind
FROM parked;

-- How many IMs are parked, and how many replays of IMs are asked for.
CREATE OR REPLACE FUNCTION count_parked(OUT parked_ims bigint, OUT replaying bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    SELECT coalesce(sum(ims), 0)::bigint, count(*) FILTER (WHERE state = 'replaying' AND kind = 'im')
    FROM parked WHERE state IN ('parked', 'replaying')
$$;

-- The next of a kind to replay. One that was tried twice without an end may have killed who tried it: it is parked
-- again. Workers of before name no kind, and know IMs alone.
DROP FUNCTION take_replay();
CREATE FUNCTION take_replay(kind text DEFAULT 'im', OUT id bigint, OUT body bytea, OUT properties jsonb)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
#variable_conflict use_column
DECLARE
    head bigint;
    tried integer;
BEGIN
    LOOP
        SELECT p.id, p.tries INTO head, tried FROM parked AS p
        WHERE p.state = 'replaying' AND p.kind = take_replay.kind ORDER BY p.id LIMIT 1;
        EXIT WHEN NOT FOUND;
        IF tried < 2 THEN
            UPDATE parked AS p SET tries = tried + 1 WHERE p.id = head
            RETURNING p.id, p.body, p.properties INTO take_replay.id, take_replay.body, take_replay.properties;
            EXIT;
        END IF;
        UPDATE parked AS p SET state = 'parked', reason = 'its replay was cut short twice: ' || p.reason
        WHERE p.id = head;
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION take_replay FROM PUBLIC;
GRANT EXECUTE ON FUNCTION take_replay TO lcs_archiving;

CREATE FUNCTION cdr.park(key bytea, reason text, body bytea, properties jsonb) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    INSERT INTO parked (key, reason, body, properties, ims, kind)
    VALUES (park.key, park.reason, park.body, park.properties, 0, 'cdr')
    ON CONFLICT DO NOTHING
$$;
CREATE FUNCTION cdr.count_parked() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    SELECT count(*) FROM parked WHERE state IN ('parked', 'replaying') AND kind = 'cdr'
$$;
REVOKE ALL ON FUNCTION cdr.park, cdr.count_parked FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdr.park, cdr.count_parked TO lcs_archiving;

-- What was kept apart before, whole messages, and what workers of before still can't store: their properties are lost.
INSERT INTO parked (key, parked_at, reason, body, properties, ims, kind)
SELECT sha256(r.body || convert_to(r.id::text, 'UTF8')), r.at, r.reason, r.body, '{"type": "lcs.cdr.v1"}', 0, 'cdr'
FROM cdr.rejected AS r ORDER BY r.id;
CREATE OR REPLACE FUNCTION cdr.reject(reason text, body bytea) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = cdr, pg_temp AS $$
    SELECT park(sha256(body), reason, body, '{"type": "lcs.cdr.v1"}')
$$;
DROP TABLE cdr.rejected;

-- The key of a pair that is too long for an index is a digest now (contract.conversation.filed_key). Those that could
-- be compressed into the index are other names of the same.
DO $$
BEGIN
    PERFORM note_spellings('conversations', array_agg(name), array_agg(
        left(split_part(name, ':', 1), 16) || ':' || encode(sha256(convert_to(name, 'UTF8')), 'hex')))
    FROM conversations WHERE octet_length(name) > 2048 HAVING count(*) > 0;
    UPDATE conversations AS s SET same_as = c.same_as FROM conversations AS c
    WHERE s.same_as = c.id AND c.same_as IS NOT NULL;
END $$;
