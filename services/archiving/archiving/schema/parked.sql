-- What can't be stored: parked as it came, replayed or discarded (docs/decisions/0009).

SET LOCAL search_path = archive;

-- Return what can be read of a parked body, line by line.
-- Agent and number are those that it was accounted for with: by its place where the message's headers tell
-- them, else its own.
CREATE OR REPLACE FUNCTION read_parked(body bytea, named uuid, first_seq bigint, ims integer)
RETURNS TABLE (agent uuid, seq bigint, conversation text, im uuid, sent_at timestamptz)
LANGUAGE plpgsql IMMUTABLE SET search_path = archive, pg_temp AS $$
#variable_conflict use_column
DECLARE
    line text;
    said json;
    place integer := -1;
BEGIN
    IF octet_length(body) > 16 << 20 THEN
        RETURN; -- no broker takes so much
    END IF;
    -- Escaped, so that a line that is no text leaves the others readable.
    FOR line IN SELECT l FROM string_to_table(encode(body, 'escape'), E'\n') AS l
                WHERE btrim(l, E' \t\r') <> '' LIMIT 100000 LOOP
        place := place + 1;
        BEGIN
            -- U+0000, for which most are parked, is none that a text can have here.
            said := replace(convert_from(decode(line, 'escape'), 'UTF8'), '\u0000', '\ufffd');
            agent := coalesce(named, (said ->> 'agent')::uuid);
            seq := coalesce(CASE WHEN place < ims THEN first_seq + place END, (said ->> 'seq')::bigint);
            conversation := said ->> 'conversation';
            IF octet_length(conversation) > 2048 THEN -- as contract.conversation.filed_key
                conversation := left(split_part(conversation, ':', 1), 16) || ':'
                                || encode(sha256(convert_to(conversation, 'UTF8')), 'hex');
            END IF;
            im := (said ->> 'id')::uuid;
            sent_at := timestamptz 'epoch'
                       + interval '1 millisecond' * ('x' || left(replace(im::text, '-', ''), 12))::bit(48)::bigint;
            IF num_nulls(agent, seq, conversation, im) = 0 AND json_typeof(said -> 'conversation') = 'string' THEN
                RETURN NEXT;
            END IF;
        EXCEPTION WHEN OTHERS THEN
            NULL; -- nobody can tell
        END;
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION read_parked FROM PUBLIC;

-- Park a message of IMs, once, and note what can be read of it.
CREATE OR REPLACE FUNCTION park(
    key bytea, reason text, body bytea, properties jsonb, pool text, agent uuid, first_seq bigint, ims integer
) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    WITH new AS (
        INSERT INTO parked AS p (key, reason, body, properties, pool, agent, first_seq, ims)
        VALUES (park.key, park.reason, park.body, park.properties, park.pool, park.agent, park.first_seq, park.ims)
        ON CONFLICT DO NOTHING RETURNING p.id, p.body, p.agent, p.first_seq, p.ims
    )
    INSERT INTO parked_numbers (parked_id, agent, seq, conversation, im, sent_at)
    SELECT n.id, r.agent, r.seq, r.conversation, r.im, r.sent_at
    FROM new AS n, read_parked(n.body, n.agent, n.first_seq, n.ims) AS r
    ON CONFLICT DO NOTHING
$$;
REVOKE ALL ON FUNCTION park FROM PUBLIC;
GRANT EXECUTE ON FUNCTION park TO lcs_archiving;

-- Park a line of call detail records, once.
CREATE OR REPLACE FUNCTION cdr.park(key bytea, reason text, body bytea, properties jsonb) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    INSERT INTO parked (key, reason, body, properties, ims, kind)
    VALUES (park.key, park.reason, park.body, park.properties, 0, 'cdr')
    ON CONFLICT DO NOTHING
$$;
REVOKE ALL ON FUNCTION cdr.park FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdr.park TO lcs_archiving;

-- Park a message of call detail records, for workers of before migration 0016: its properties are lost.
CREATE OR REPLACE FUNCTION cdr.reject(reason text, body bytea) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = cdr, pg_temp AS $$
    SELECT park(sha256(body), reason, body, '{"type": "lcs.cdr.v1"}')
$$;
REVOKE ALL ON FUNCTION cdr.reject FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdr.reject TO lcs_archiving;

-- Return how many IMs are parked, and how many replays of IMs are asked for.
CREATE OR REPLACE FUNCTION count_parked(OUT parked_ims bigint, OUT replaying bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    SELECT coalesce(sum(ims), 0)::bigint, count(*) FILTER (WHERE state = 'replaying' AND kind = 'im')
    FROM parked WHERE state IN ('parked', 'replaying')
$$;
REVOKE ALL ON FUNCTION count_parked FROM PUBLIC;
GRANT EXECUTE ON FUNCTION count_parked TO lcs_archiving;

-- Return how many lines of call detail records are parked.
CREATE OR REPLACE FUNCTION cdr.count_parked() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    SELECT count(*) FROM parked WHERE state IN ('parked', 'replaying') AND kind = 'cdr'
$$;
REVOKE ALL ON FUNCTION cdr.count_parked FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdr.count_parked TO lcs_archiving;

-- Ask for a replay of some that are parked, or (null) of all; return how many those are.
CREATE OR REPLACE FUNCTION request_replay(ids bigint[], who text, why text) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    WITH asked AS (
        UPDATE parked SET state = 'replaying', tries = 0, changed_at = now(), changed_by = who, changed_why = why
        WHERE state = 'parked' AND (ids IS NULL OR id = ANY (ids)) RETURNING 1
    ) SELECT count(*) FROM asked
$$;
REVOKE ALL ON FUNCTION request_replay FROM PUBLIC;
GRANT EXECUTE ON FUNCTION request_replay TO lcs_archiving, lcs_admin;

-- Discard some that are parked; return how many those are. What came is kept, and still counts as parked.
CREATE OR REPLACE FUNCTION discard_parked(ids bigint[], who text, why text) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    WITH given_up AS (
        UPDATE parked SET state = 'discarded', changed_at = now(), changed_by = who, changed_why = why
        WHERE state = 'parked' AND id = ANY (ids) RETURNING 1
    ) SELECT count(*) FROM given_up
$$;
REVOKE ALL ON FUNCTION discard_parked FROM PUBLIC;
GRANT EXECUTE ON FUNCTION discard_parked TO lcs_admin;

-- Return the next of a kind to replay, null if there is none.
-- One that was tried twice without an end may have killed its worker: it is parked again. Workers of before
-- migration 0016 name no kind, and know IMs alone.
CREATE OR REPLACE FUNCTION take_replay(kind text DEFAULT 'im', OUT id bigint, OUT body bytea, OUT properties jsonb)
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

-- Note how a replay ended: failure is null if all of it is archived now, else the new reason.
CREATE OR REPLACE FUNCTION end_replay(id bigint, failure text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    UPDATE parked AS p
    SET state = CASE WHEN failure IS NULL THEN 'replayed' ELSE 'parked' END, reason = coalesce(failure, p.reason)
    WHERE p.id = end_replay.id
$$;
REVOKE ALL ON FUNCTION end_replay FROM PUBLIC;
GRANT EXECUTE ON FUNCTION end_replay TO lcs_archiving;

-- Show all that was parked, as it came.
CREATE OR REPLACE VIEW parked_ims AS
SELECT id, parked_at, reason, body, properties, pool, agent, first_seq, ims, state, changed_at, changed_by, changed_why,
       kind
FROM parked;
GRANT SELECT ON parked_ims TO lcs_admin;
