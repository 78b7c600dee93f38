SET LOCAL search_path = archive;

-- A content type is numbered with its parameters, and some (boundary, OCS's msgr) are others in every IM: the 32,767
-- numbers of a smallint don't last. This writes all of messages anew, and meanwhile nobody reads or stores: what
-- comes waits on the queue.
DO $$
DECLARE
    definition text := pg_get_viewdef('archived_messages'::regclass);
BEGIN
    DROP VIEW archived_messages;
    ALTER TABLE messages ALTER COLUMN content_type_id TYPE integer;
    ALTER TABLE content_types ALTER COLUMN id TYPE integer;
    EXECUTE 'CREATE VIEW archived_messages AS ' || definition;
END $$;
GRANT SELECT ON archived_messages TO lcs_admin;

-- Once a session: the temporary table that log_messages() reads. The layout is that of the rows that the worker packs:
-- one of another version is told here, for to a COPY its rows would be data errors, which are parked. So it waits.
DROP FUNCTION open_batch();
CREATE FUNCTION open_batch(layout integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
BEGIN
    IF layout <> 2 THEN
        RAISE EXCEPTION 'the archive takes rows of layout 2, not of %', layout;
    END IF;
    CREATE TEMPORARY TABLE batch (LIKE messages) ON COMMIT DELETE ROWS;
    ALTER TABLE batch DROP COLUMN stored_at;
    EXECUTE format('GRANT INSERT ON batch TO %I', session_user);
END $$;

-- The next to replay: the first of an index, whatever waits behind it. One that was tried twice without an end may
-- have killed who tried it: it is parked again.
CREATE INDEX parked_replaying ON parked (id) WHERE state = 'replaying';
CREATE OR REPLACE FUNCTION take_replay(OUT id bigint, OUT body bytea, OUT properties jsonb)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
#variable_conflict use_column
DECLARE
    head bigint;
    tried integer;
BEGIN
    LOOP
        SELECT p.id, p.tries INTO head, tried FROM parked AS p WHERE p.state = 'replaying' ORDER BY p.id LIMIT 1;
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

-- An agent's word how far it got may come without its front end's name: a message says how many IMs it holds.
CREATE OR REPLACE FUNCTION log_agent(
    agent_id integer, front_end text, confirmed bigint, confirmed_at timestamptz, ended_at timestamptz
) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    UPDATE agents AS a
    SET front_end = coalesce(log_agent.front_end, a.front_end),
        confirmed = greatest(a.confirmed, log_agent.confirmed),
        confirmed_at = greatest(a.confirmed_at, log_agent.confirmed_at),
        ended_at = coalesce(log_agent.ended_at, a.ended_at),
        last_seen = now()
    WHERE a.id = log_agent.agent_id
$$;

REVOKE ALL ON FUNCTION open_batch FROM PUBLIC;
GRANT EXECUTE ON FUNCTION open_batch TO lcs_archiving;
