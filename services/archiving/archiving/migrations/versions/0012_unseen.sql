-- What was said where nobody could see it: sessions in which an administrator allows it, and who tried to.

ALTER TABLE cdr.sessions ADD COLUMN unseen text[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN cdr.sessions.unseen IS 'what went past the archive, as policy allows: msrp, t140, datachannel, file, fax, other';
ALTER TABLE cdr.parties ADD COLUMN attempts jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN cdr.parties.attempts IS 'what this participant tried past the archive, and was refused or archived: kind to count';
CREATE INDEX parties_attempts ON cdr.parties (session_id) WHERE attempts <> '{}';

-- Store what one AMQP message brings; returns whether it was new. A session takes what belongs to its
-- conversation and comes no later than an idle time after it; what was ended is begun anew.
CREATE OR REPLACE FUNCTION cdr.log_activities(message uuid, activities jsonb, idle interval) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = cdr, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    a record;
    session bigint;
    count bigint;
BEGIN
    -- One at a time: else two would each begin a session of the same conversation.
    PERFORM pg_advisory_xact_lock(hashtext('cdr.log_activities'));
    INSERT INTO messages (id) VALUES (message) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    FOR a IN
        SELECT * FROM jsonb_to_recordset(activities) AS r (
            conversation text, sender text, recipients text[], scope text, pool text, client text,
            first timestamptz, last timestamptz, archived bigint, passed jsonb, invited boolean, ended text,
            unseen text[], attempts jsonb)
        ORDER BY r.first, r.invited DESC -- a session begins before what is said in it
    LOOP
        count := a.archived + total_of(a.passed);
        -- Workers of before know neither.
        a.unseen := coalesce(a.unseen, '{}');
        a.attempts := coalesce(a.attempts, '{}');
        session := NULL;
        IF NOT a.invited THEN
            SELECT s.id INTO session FROM sessions AS s
            WHERE s.conversation = a.conversation
              AND s.last_at >= a.first - CASE WHEN s.invited THEN greatest(idle, '12 hours') ELSE idle END
              AND s.started_at <= a.last + idle
              AND (s.ended_at IS NULL OR s.ended = 'idle' OR a.first <= s.ended_at)
            ORDER BY s.last_at DESC LIMIT 1;
        ELSE -- the INVITE that is sent again after a challenge, or to another device, begins no other session
            SELECT s.id INTO session FROM sessions AS s
            WHERE s.conversation = a.conversation AND s.invited AND s.ended_at IS NULL
              AND s.last_at >= a.first - interval '12 hours'
            ORDER BY s.last_at DESC LIMIT 1;
        END IF;
        IF session IS NULL THEN
            CONTINUE WHEN count = 0 AND NOT a.invited AND a.attempts = '{}' AND a.unseen = '{}'; -- the end of what nobody knows
            INSERT INTO sessions (conversation, invited, scope, pool, caller, client, started_at, last_at,
                                  ended_at, ended, archived, passed, unseen)
            VALUES (a.conversation, a.invited, a.scope, a.pool, a.sender, a.client, a.first, a.last,
                    CASE WHEN a.ended <> '' THEN a.last END, nullif(a.ended, ''), a.archived, a.passed,
                    a.unseen)
            RETURNING id INTO session;
        ELSE
            UPDATE sessions AS s
            SET started_at = least(s.started_at, a.first),
                last_at = greatest(s.last_at, a.last),
                scope = CASE WHEN a.scope = 'federated' THEN a.scope ELSE s.scope END,
                ended_at = CASE WHEN a.ended <> '' THEN a.last WHEN s.ended = 'idle' THEN NULL ELSE s.ended_at END,
                ended = CASE WHEN a.ended <> '' THEN a.ended WHEN s.ended = 'idle' THEN NULL ELSE s.ended END,
                archived = s.archived + a.archived,
                passed = add_counts(s.passed, a.passed),
                unseen = ARRAY(SELECT DISTINCT kind FROM unnest(s.unseen || a.unseen) AS kind ORDER BY kind)
            WHERE s.id = session;
        END IF;
        INSERT INTO parties AS p (session_id, address, sent, client, attempts)
        SELECT session, address, max(n), max(c), CASE WHEN address = a.sender THEN a.attempts ELSE '{}' END
        FROM (SELECT a.sender, count, a.client UNION ALL SELECT unnest(a.recipients), 0, NULL) AS r (address, n, c)
        GROUP BY address
        ON CONFLICT (session_id, address) DO UPDATE
        SET sent = p.sent + excluded.sent, client = coalesce(excluded.client, p.client),
            attempts = add_counts(p.attempts, excluded.attempts)
        WHERE excluded.sent > 0 OR excluded.attempts <> '{}' OR p.client IS NULL AND excluded.client IS NOT NULL;
    END LOOP;
    RETURN true;
END $$;


CREATE OR REPLACE VIEW cdr.session_list AS
SELECT s.id, s.conversation, s.invited, s.scope, s.pool, s.caller, s.client, s.started_at, s.last_at, s.ended_at,
       s.ended, s.archived + cdr.total_of(s.passed) AS messages, s.archived, s.passed,
       ARRAY(SELECT p.address FROM cdr.parties AS p WHERE p.session_id = s.id ORDER BY p.address) AS parties,
       ARRAY(SELECT p.sent FROM cdr.parties AS p WHERE p.session_id = s.id ORDER BY p.address) AS sent,
       ARRAY(SELECT p.client FROM cdr.parties AS p WHERE p.session_id = s.id ORDER BY p.address) AS clients,
       s.unseen,
       ARRAY(SELECT p.attempts FROM cdr.parties AS p WHERE p.session_id = s.id ORDER BY p.address) AS attempts
FROM cdr.sessions AS s;

CREATE VIEW cdr.attempt_list AS
SELECT p.address, s.last_at, a.key AS kind, a.value::bigint AS count
FROM cdr.parties AS p JOIN cdr.sessions AS s ON s.id = p.session_id, jsonb_each_text(p.attempts) AS a
WHERE p.attempts <> '{}';
GRANT SELECT ON cdr.attempt_list TO lcs_admin;

-- Who tried most in sessions of the last while.
CREATE FUNCTION cdr.most_attempts(since interval, most integer) RETURNS TABLE (address text, attempts bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = cdr, pg_temp AS $$
    SELECT a.address, sum(a.count)::bigint FROM attempt_list AS a
    WHERE a.last_at > now() - since GROUP BY a.address ORDER BY 2 DESC, 1 LIMIT most
$$;
REVOKE ALL ON FUNCTION cdr.most_attempts FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdr.most_attempts TO lcs_archiving;
