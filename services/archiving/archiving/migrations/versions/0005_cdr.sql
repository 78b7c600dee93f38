-- Call detail records: sessions, who took part, how many messages. Never content. Nobody but the owner writes
-- the tables: the service calls log_activities().

CREATE SCHEMA cdr;
SET LOCAL search_path = cdr;

CREATE TABLE sessions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    conversation text NOT NULL,
    invited boolean NOT NULL,
    scope text NOT NULL,
    pool text NOT NULL,
    caller text NOT NULL,
    client text NOT NULL,
    started_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    ended_at timestamptz,
    ended text,
    archived bigint NOT NULL,
    passed jsonb NOT NULL
) WITH (fillfactor = 70);
COMMENT ON COLUMN sessions.invited IS 'a session that was set up (SIP INVITE); else single messages, put together until an idle time';
COMMENT ON COLUMN sessions.ended IS 'how: bye, the status with which it was refused, or idle';
COMMENT ON COLUMN sessions.archived IS 'IMs archived';
COMMENT ON COLUMN sessions.passed IS 'IMs that policy did not archive: rule to count';
CREATE INDEX sessions_conversation ON sessions (conversation, last_at);
CREATE INDEX sessions_started ON sessions (started_at, id);
CREATE INDEX sessions_open ON sessions (last_at) WHERE ended_at IS NULL;

CREATE TABLE parties (
    session_id bigint NOT NULL REFERENCES sessions,
    address text NOT NULL,
    sent bigint NOT NULL,
    client text,
    PRIMARY KEY (session_id, address)
);
COMMENT ON COLUMN parties.sent IS 'IMs that this participant sent';
CREATE INDEX parties_address ON parties (address, session_id);

-- AMQP messages that are in already: one that comes again counts once.
CREATE TABLE messages (
    id uuid PRIMARY KEY,
    stored_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX messages_stored ON messages (stored_at);

-- What could not be read, as it came.
CREATE TABLE rejected (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    reason text NOT NULL,
    body bytea NOT NULL
);

CREATE FUNCTION add_counts(a jsonb, b jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN b = '{}' THEN a ELSE (
        SELECT jsonb_object_agg(key, n) FROM (
            SELECT key, sum(value::bigint) AS n FROM (
                SELECT * FROM jsonb_each_text(a) UNION ALL SELECT * FROM jsonb_each_text(b)
            ) AS counts GROUP BY key) AS sums) END
$$;

CREATE FUNCTION total_of(counts jsonb) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(sum(value::bigint), 0)::bigint FROM jsonb_each_text(counts)
$$;

-- Store what one AMQP message brings; returns whether it was new. A session takes what belongs to its
-- conversation and comes no later than an idle time after it; what was ended is begun anew.
CREATE FUNCTION log_activities(message uuid, activities jsonb, idle interval) RETURNS boolean
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
            first timestamptz, last timestamptz, archived bigint, passed jsonb, invited boolean, ended text)
        ORDER BY r.first
    LOOP
        count := a.archived + total_of(a.passed);
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
            CONTINUE WHEN count = 0 AND NOT a.invited; -- the end of what nobody knows
            INSERT INTO sessions (conversation, invited, scope, pool, caller, client, started_at, last_at,
                                  ended_at, ended, archived, passed)
            VALUES (a.conversation, a.invited, a.scope, a.pool, a.sender, a.client, a.first, a.last,
                    CASE WHEN a.ended <> '' THEN a.last END, nullif(a.ended, ''), a.archived, a.passed)
            RETURNING id INTO session;
        ELSE
            UPDATE sessions AS s
            SET started_at = least(s.started_at, a.first),
                last_at = greatest(s.last_at, a.last),
                scope = CASE WHEN a.scope = 'federated' THEN a.scope ELSE s.scope END,
                ended_at = CASE WHEN a.ended <> '' THEN a.last WHEN s.ended = 'idle' THEN NULL ELSE s.ended_at END,
                ended = CASE WHEN a.ended <> '' THEN a.ended WHEN s.ended = 'idle' THEN NULL ELSE s.ended END,
                archived = s.archived + a.archived,
                passed = add_counts(s.passed, a.passed)
            WHERE s.id = session;
        END IF;
        INSERT INTO parties AS p (session_id, address, sent, client)
        SELECT session, address, max(n), max(c)
        FROM (SELECT a.sender, count, a.client UNION ALL SELECT unnest(a.recipients), 0, NULL) AS r (address, n, c)
        GROUP BY address
        ON CONFLICT (session_id, address) DO UPDATE
        SET sent = p.sent + excluded.sent, client = coalesce(excluded.client, p.client)
        WHERE excluded.sent > 0 OR p.client IS NULL AND excluded.client IS NOT NULL;
    END LOOP;
    RETURN true;
END $$;

CREATE FUNCTION reject(reason text, body bytea) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = cdr, pg_temp AS $$
    INSERT INTO rejected (reason, body) VALUES (reason, body)
$$;

-- End sessions in which nothing came for an idle time, and forget which old messages are in; returns how many ended.
CREATE FUNCTION end_idle(idle interval) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = cdr, pg_temp AS $$
    DELETE FROM messages WHERE stored_at < now() - interval '30 days';
    WITH done AS (
        UPDATE sessions SET ended_at = last_at, ended = 'idle'
        WHERE ended_at IS NULL
          AND last_at < now() - CASE WHEN invited THEN greatest(idle, '12 hours') ELSE idle END
        RETURNING 1
    ) SELECT count(*) FROM done
$$;

-- What the admin API reads.
CREATE VIEW session_list AS
SELECT s.id, s.conversation, s.invited, s.scope, s.pool, s.caller, s.client, s.started_at, s.last_at, s.ended_at,
       s.ended, s.archived + total_of(s.passed) AS messages, s.archived, s.passed,
       ARRAY(SELECT p.address FROM parties AS p WHERE p.session_id = s.id ORDER BY p.address) AS parties,
       ARRAY(SELECT p.sent FROM parties AS p WHERE p.session_id = s.id ORDER BY p.address) AS sent,
       ARRAY(SELECT p.client FROM parties AS p WHERE p.session_id = s.id ORDER BY p.address) AS clients
FROM sessions AS s;
CREATE VIEW party_list AS SELECT address, session_id FROM parties;

-- The lowest id of an IM of that time (RFC 9562, 5.7): the index of messages is by id.
CREATE FUNCTION lowest_id(at timestamptz) RETURNS uuid
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT rpad(lpad(to_hex(greatest(0, floor(extract(epoch FROM at) * 1000)::bigint)), 12, '0'), 32, '0')::uuid
$$;

-- Of each conversation that had sessions begun within these times: IMs archived by the records, and IMs in the
-- archive. Of each conversation without: those in the archive alone.
CREATE FUNCTION reconcile(since timestamptz, until timestamptz)
RETURNS TABLE (conversation text, recorded bigint, passed bigint, archived bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = cdr, archive, pg_temp AS $$
    WITH talked AS (
        SELECT s.conversation, sum(s.archived)::bigint AS recorded, sum(total_of(s.passed))::bigint AS passed
        FROM sessions AS s WHERE s.started_at >= since AND s.started_at < until GROUP BY s.conversation
    ), earlier AS ( -- sessions begun before that go on: what belongs to them is not counted here
        SELECT m.conversation_id, count(*) AS n
        FROM archive.messages AS m JOIN archive.conversations AS c ON c.id = m.conversation_id
        WHERE m.sent_at >= since AND m.sent_at < until AND m.id >= lowest_id(since) AND EXISTS (
            SELECT FROM sessions AS s WHERE s.conversation = c.name AND s.started_at < since
                AND m.sent_at BETWEEN s.started_at AND s.last_at)
        GROUP BY m.conversation_id
    ), kept AS (
        SELECT m.conversation_id, count(*) AS n FROM archive.messages AS m
        WHERE m.sent_at >= since AND m.sent_at < until AND m.id >= lowest_id(since)
          AND m.id < lowest_id(until + interval '1 millisecond')
        GROUP BY m.conversation_id
    ), late AS ( -- sessions begun within these times that go on after them
        SELECT c.id AS conversation_id, count(*) AS n
        FROM sessions AS s JOIN archive.conversations AS c ON c.name = s.conversation
        JOIN archive.messages AS m ON m.conversation_id = c.id AND m.sent_at >= until AND m.sent_at <= s.last_at
        WHERE s.started_at >= since AND s.started_at < until AND s.last_at >= until
        GROUP BY c.id
    )
    SELECT coalesce(t.conversation, c.name), coalesce(t.recorded, 0), coalesce(t.passed, 0),
           coalesce(k.n, 0) - coalesce(e.n, 0) + coalesce(l.n, 0)
    FROM kept AS k JOIN archive.conversations AS c ON c.id = k.conversation_id
    LEFT JOIN earlier AS e USING (conversation_id)
    FULL JOIN talked AS t ON t.conversation = c.name
    LEFT JOIN archive.conversations AS d ON d.name = t.conversation
    LEFT JOIN late AS l ON l.conversation_id = d.id
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA cdr FROM PUBLIC;
GRANT USAGE ON SCHEMA cdr TO lcs_archiving, lcs_admin;
GRANT EXECUTE ON FUNCTION log_activities, reject, end_idle TO lcs_archiving;
GRANT SELECT ON session_list, party_list TO lcs_admin;
GRANT EXECUTE ON FUNCTION reconcile, total_of TO lcs_admin;
