-- Rendering again: the text and the encryption of IMs that have content (python -m archiving render).
-- It goes in runs that the audit trail knows of: nobody reads content by these functions in silence, and all
-- they change is the text and the encryption of rows that have content.

SET LOCAL search_path = archive;

-- Record a step of a run in the audit trail, if the admin API's schema is there.
CREATE OR REPLACE FUNCTION record_rendering(run bigint, step text, who text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
BEGIN
    IF to_regclass('policy.audit') IS NOT NULL THEN
        INSERT INTO policy.audit (actor, role, action, target, detail)
        SELECT record_rendering.who, 'operator', 'archive.render', 'messages',
               jsonb_build_object('run', r.id, 'step', step, 'looked_at', r.looked_at, 'changed', r.changed)
        FROM renderings AS r WHERE r.id = run;
    END IF;
END $$;
REVOKE ALL ON FUNCTION record_rendering FROM PUBLIC;

-- Begin a run, or go on with the one that was cut short (anew: end that one). Raise lock_not_available if
-- another session is at it.
CREATE OR REPLACE FUNCTION begin_rendering(who text, anew boolean, OUT run bigint, OUT resumed boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
BEGIN
    IF NOT pg_try_advisory_lock(hashtext('archive.renderings')) THEN
        RAISE EXCEPTION 'content is being rendered again already' USING ERRCODE = 'lock_not_available';
    END IF;
    IF anew THEN
        UPDATE renderings SET ended_at = now() WHERE ended_at IS NULL;
    END IF;
    SELECT r.id INTO run FROM renderings AS r WHERE r.ended_at IS NULL ORDER BY r.id DESC LIMIT 1;
    resumed := FOUND;
    IF NOT resumed THEN
        INSERT INTO renderings (who) VALUES (begin_rendering.who) RETURNING id INTO run;
    END IF;
    PERFORM record_rendering(run, CASE WHEN resumed THEN 'resumed' ELSE 'began' END, who);
END $$;
REVOKE ALL ON FUNCTION begin_rendering FROM PUBLIC;
GRANT EXECUTE ON FUNCTION begin_rendering TO lcs_archiving;

-- Return the next contents of a run, in the order of their ids.
CREATE OR REPLACE FUNCTION contents_to_render(run bigint, most integer)
RETURNS TABLE (id uuid, sent_at timestamptz, content_type text, content_encoding text, content bytea, body text, encryption text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = archive, pg_temp AS $$
#variable_conflict use_column
DECLARE
    seen uuid := (SELECT r.through FROM renderings AS r WHERE r.id = run AND r.ended_at IS NULL);
BEGIN
    RETURN QUERY
    SELECT m.id, m.sent_at, t.name, m.content_encoding, m.content, m.body, m.encryption
    FROM messages AS m JOIN content_types AS t ON t.id = m.content_type_id
    WHERE m.id > seen AND m.content IS NOT NULL
    ORDER BY m.id LIMIT most;
END $$;
REVOKE ALL ON FUNCTION contents_to_render FROM PUBLIC;
GRANT EXECUTE ON FUNCTION contents_to_render TO lcs_archiving;

-- Change the text and the encryption of some IMs that have content, note how far the run is, and return how
-- many changed.
CREATE OR REPLACE FUNCTION set_renderings(
    run bigint, through uuid, looked_at integer, ids uuid[], times timestamptz[], bodies text[], encryptions text[]
) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
DECLARE
    done integer;
BEGIN
    PERFORM FROM renderings AS r WHERE r.id = run AND r.ended_at IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no run % to render again', run;
    END IF;
    UPDATE messages AS m SET body = new.body, encryption = new.encryption
    FROM unnest(ids, times, bodies, encryptions) AS new (id, sent_at, body, encryption)
    WHERE m.id = new.id AND m.sent_at = new.sent_at AND m.content IS NOT NULL;
    GET DIAGNOSTICS done = ROW_COUNT;
    UPDATE renderings AS r
    SET through = set_renderings.through, looked_at = r.looked_at + set_renderings.looked_at, changed = r.changed + done
    WHERE r.id = run;
    RETURN done;
END $$;
REVOKE ALL ON FUNCTION set_renderings FROM PUBLIC;
GRANT EXECUTE ON FUNCTION set_renderings TO lcs_archiving;

-- End a run; return how many contents it looked at and changed.
CREATE OR REPLACE FUNCTION end_rendering(run bigint, who text, OUT looked_at bigint, OUT changed bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
BEGIN
    UPDATE renderings AS r SET ended_at = now() WHERE r.id = run AND r.ended_at IS NULL
    RETURNING r.looked_at, r.changed INTO end_rendering.looked_at, end_rendering.changed;
    PERFORM record_rendering(run, 'ended', who);
END $$;
REVOKE ALL ON FUNCTION end_rendering FROM PUBLIC;
GRANT EXECUTE ON FUNCTION end_rendering TO lcs_archiving;
