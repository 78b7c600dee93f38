-- Call detail records: sessions, and who took part, never content (docs/decisions/0015).
-- Order never matters: what is told of a conversation is kept, activity by activity, and its sessions are a
-- function of that. In order they grow with each activity; what comes out of order has the sessions around it
-- put together anew.

SET LOCAL search_path = cdr;

-- Return the sums of two objects of counts, key by key.
CREATE OR REPLACE FUNCTION add_counts(a jsonb, b jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN b = '{}' THEN a ELSE (
        SELECT jsonb_object_agg(key, n) FROM (
            SELECT key, sum(value::bigint) AS n FROM (
                SELECT key, value FROM jsonb_each_text(a) UNION ALL SELECT key, value FROM jsonb_each_text(b)
            ) AS counts GROUP BY key) AS sums) END
$$;
REVOKE ALL ON FUNCTION add_counts FROM PUBLIC;

-- Aggregate objects of counts into their sums.
CREATE OR REPLACE AGGREGATE sum_counts(jsonb) (SFUNC = add_counts, STYPE = jsonb, INITCOND = '{}');
REVOKE ALL ON FUNCTION sum_counts FROM PUBLIC;

-- Return the sum of all counts in an object.
CREATE OR REPLACE FUNCTION total_of(counts jsonb) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(sum(value::bigint), 0)::bigint FROM jsonb_each_text(counts)
$$;
REVOKE ALL ON FUNCTION total_of FROM PUBLIC;
GRANT EXECUTE ON FUNCTION total_of TO lcs_admin;

-- Return how far two sessions of a conversation may be from each other and still be one.
CREATE OR REPLACE FUNCTION reach(idle interval) RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT greatest(idle, '12 hours') $$;
REVOKE ALL ON FUNCTION reach FROM PUBLIC;

-- Return a time, back to full ten minutes.
-- Where an index holds the time of what was last said, each word moves the session in it. This moves once in
-- ten minutes.
CREATE OR REPLACE FUNCTION slot_of(at timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT date_bin('10 minutes', at, timestamptz '1970-01-01 00:00:00+00') $$;
REVOKE ALL ON FUNCTION slot_of FROM PUBLIC;

-- Return the activities of which one is the sum.
CREATE OR REPLACE FUNCTION parts_of(parts jsonb) RETURNS TABLE (after interval, length interval, archived bigint, passed jsonb)
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (p.part ->> 0)::bigint * interval '1 microsecond', (p.part ->> 1)::bigint * interval '1 microsecond',
           (p.part ->> 2)::bigint, p.part -> 3
    FROM jsonb_array_elements(parts) AS p (part)
$$;
REVOKE ALL ON FUNCTION parts_of FROM PUBLIC;

-- Return the activities and talks of a JSON array, each with its place from 0.
CREATE OR REPLACE FUNCTION read_activities(activities jsonb) RETURNS TABLE (
    place bigint, conversation text, first timestamptz, last timestamptz, latest timestamptz, sender text, recipients text[],
    client text, scope text, pool text, invited boolean, ended text, sent bigint, archived bigint, passed jsonb,
    unseen text[], attempts jsonb, parts jsonb, rows jsonb, voices jsonb, hearers text[])
LANGUAGE sql STABLE AS $$
    SELECT r.place - 1, r.conversation, r.first, greatest(r.first, r.last), coalesce(r.latest, r.first), r.sender,
           r.recipients, r.client, r.scope, r.pool, coalesce(r.invited, false), nullif(r.ended, ''),
           coalesce(r.archived, 0) + CASE WHEN r.passed <> '{}' THEN cdr.total_of(r.passed) ELSE 0 END,
           coalesce(r.archived, 0), nullif(r.passed, '{}'), nullif(r.unseen, '{}'), nullif(r.attempts, '{}'), r.parts,
           r.rows, r.voices, coalesce(r.hearers, r.recipients)
    FROM ROWS FROM (jsonb_to_recordset(activities) AS (
        conversation text, sender text, recipients text[], scope text, pool text, client text,
        first timestamptz, last timestamptz, latest timestamptz, archived bigint, passed jsonb, invited boolean, ended text,
        unseen text[], attempts jsonb, parts jsonb, rows jsonb, voices jsonb, hearers text[])) WITH ORDINALITY AS r (
        conversation, sender, recipients, scope, pool, client, first, last, latest, archived, passed, invited, ended,
        unseen, attempts, parts, rows, voices, hearers, place)
$$;
REVOKE ALL ON FUNCTION read_activities FROM PUBLIC;

-- Note AMQP messages as stored, and return which are new; one transaction at a time.
-- Else two would each begin a session of the same conversation.
CREATE OR REPLACE FUNCTION note_messages(messages uuid[]) RETURNS uuid[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = cdr, pg_temp AS $$
DECLARE
    noted uuid[];
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('cdr.log_activities'));
    WITH new AS (
        INSERT INTO messages (id) SELECT DISTINCT unnest(note_messages.messages) ON CONFLICT DO NOTHING RETURNING id
    ) SELECT coalesce(array_agg(id), '{}') INTO noted FROM new;
    RETURN noted;
END $$;
REVOKE ALL ON FUNCTION note_messages FROM PUBLIC;
GRANT EXECUTE ON FUNCTION note_messages TO lcs_archiving;

-- Store the talks that come in order, and return the places of the others.
-- In order is what has no session of its conversation near it, what is later than all that is near, and what
-- was said in the midst of the one session near it: then all of a talk belongs to one session.
CREATE OR REPLACE FUNCTION append_talks(talks jsonb, idle interval) RETURNS integer[]
LANGUAGE plpgsql SET search_path = cdr, pg_temp SET work_mem = '128MB'
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    far interval := reach(idle);
    late integer[];
BEGIN
    WITH placed AS MATERIALIZED (
        SELECT a.place, a.conversation, a.first, a.last, a.sender, a.recipients, a.client, a.scope, a.pool, a.invited,
               a.ended, a.sent, a.archived, a.passed, a.unseen, a.attempts, a.parts, a.rows, a.voices, a.hearers,
               s.session, o.in_order,
               CASE WHEN o.in_order THEN coalesce(s.session, nextval('sessions_id_seq')) END AS session_id
        FROM read_activities(talks) AS a CROSS JOIN LATERAL (
            SELECT (array_agg(c.id ORDER BY c.last_at DESC, c.started_at DESC) FILTER (WHERE c.takes))[1] AS session,
                   coalesce(bool_or(c.takes AND c.started_at < a.first), false) AS inside,
                   coalesce(bool_or(c.marks), false) AS marked,
                   count(*) AS far, max(c.last_at) AS far_last,
                   count(*) FILTER (WHERE c.close) AS close, max(c.last_at) FILTER (WHERE c.close) AS close_last
            FROM (
                SELECT s.id, s.started_at, s.last_at, s.invited OR s.orphan AS marks,
                       s.last_at >= a.first - idle AND s.started_at <= a.last + idle AS close,
                       NOT s.orphan AND s.started_at <= a.first
                       AND s.last_at >= a.first - CASE WHEN s.invited THEN far ELSE idle END
                       AND (s.invited OR NOT a.invited)
                       AND (s.ended IS NULL OR s.ended = 'idle' OR NOT a.invited AND a.latest <= s.ended_at) AS takes
                FROM sessions AS s
                WHERE s.conversation = a.conversation AND s.last_slot >= slot_of(a.first - far)
                      AND s.last_at >= a.first - far AND s.started_at <= a.last + far
            ) AS c
        ) AS s CROSS JOIN LATERAL (
            SELECT CASE WHEN a.invited OR a.ended IS NOT NULL OR s.marked
                        THEN s.far = 0 OR a.first > s.far_last
                             OR s.far = 1 AND s.inside AND NOT a.invited AND a.ended IS NULL
                        ELSE s.close = 0 OR a.first > s.close_last OR s.close = 1 AND s.inside END AS in_order
        ) AS o
    ), voices AS MATERIALIZED (
        SELECT t.session, t.session_id, t.sender, t.sent, t.last, t.client, t.attempts
        FROM placed AS t WHERE t.in_order AND t.rows IS NULL
        UNION ALL
        SELECT t.session, t.session_id, v.sender, v.sent, v.last, v.client, NULL
        FROM placed AS t, jsonb_to_recordset(t.voices) AS v (sender text, sent bigint, last timestamptz, client text)
        WHERE t.in_order AND t.rows IS NOT NULL
    ), kept AS (
        INSERT INTO activities (session_id, first, last, sender, recipients, client, scope, pool, invited, ended, sent,
                                archived, passed, unseen, attempts, parts)
        SELECT t.session_id, t.first, t.last, t.sender, t.recipients, t.client, t.scope, t.pool, t.invited, t.ended, t.sent,
               t.archived, t.passed, t.unseen, t.attempts, t.parts
        FROM placed AS t WHERE t.in_order AND t.rows IS NULL
        UNION ALL
        SELECT t.session_id, r.first, r.last, r.sender, r.recipients, r.client, coalesce(r.scope, t.scope),
               coalesce(r.pool, t.pool), false, NULL, r.sent, r.archived, r.passed, NULL, NULL, r.parts
        FROM placed AS t, read_activities(t.rows) AS r WHERE t.in_order AND t.rows IS NOT NULL
    ), begun AS (
        INSERT INTO sessions (id, conversation, invited, scope, pool, caller, client, started_at, last_at, ended_at, ended,
                              archived, passed, unseen, orphan) OVERRIDING SYSTEM VALUE
        SELECT t.session_id, t.conversation, t.invited, t.scope, t.pool, t.sender, t.client, t.first, t.last,
               CASE WHEN t.ended IS NOT NULL THEN t.last END, t.ended, t.archived, coalesce(t.passed, '{}'),
               coalesce(t.unseen, '{}'), NOT t.invited AND t.sent = 0 AND t.unseen IS NULL AND t.attempts IS NULL
        FROM placed AS t WHERE t.in_order AND t.session IS NULL
    ), grown AS (
        UPDATE sessions AS s
        SET last_at = greatest(s.last_at, t.last),
            scope = CASE WHEN t.scope = 'federated' THEN t.scope ELSE s.scope END,
            ended_at = CASE WHEN t.ended IS NOT NULL THEN t.last WHEN s.ended = 'idle' THEN NULL ELSE s.ended_at END,
            ended = CASE WHEN t.ended IS NOT NULL THEN t.ended WHEN s.ended = 'idle' THEN NULL ELSE s.ended END,
            archived = s.archived + t.archived,
            passed = CASE WHEN t.passed IS NULL THEN s.passed ELSE add_counts(s.passed, t.passed) END,
            unseen = CASE WHEN t.unseen IS NULL THEN s.unseen
                          ELSE ARRAY(SELECT DISTINCT kind FROM unnest(s.unseen || t.unseen) AS kind ORDER BY kind) END
        FROM placed AS t WHERE t.in_order AND s.id = t.session
    ), spoken AS (
        UPDATE parties AS p
        SET sent = p.sent + v.sent,
            client = CASE WHEN p.client_at IS NULL OR (v.last, v.client) >= (p.client_at, p.client)
                          THEN v.client ELSE p.client END,
            client_at = greatest(p.client_at, v.last),
            attempts = CASE WHEN v.attempts IS NULL THEN p.attempts ELSE add_counts(p.attempts, v.attempts) END
        FROM voices AS v WHERE p.session_id = v.session AND p.address = v.sender
    ), new AS MATERIALIZED (
        SELECT v.session_id, v.sender, v.sent, v.last, v.client, v.attempts FROM voices AS v
        WHERE v.session IS NULL
              OR NOT EXISTS (SELECT FROM parties AS p WHERE p.session_id = v.session AND p.address = v.sender)
    ), met AS (
        INSERT INTO parties (session_id, address, sent, client, client_at, attempts)
        SELECT n.session_id, n.sender, n.sent, n.client, n.last, coalesce(n.attempts, '{}') FROM new AS n
        UNION ALL
        SELECT h.session_id, h.address, 0, NULL, NULL::timestamptz, '{}'::jsonb FROM (
            SELECT r.session_id, r.address FROM (
                SELECT t.session, t.session_id, unnest(t.hearers) AS address FROM placed AS t WHERE t.in_order) AS r
            WHERE r.session IS NULL
                  OR NOT EXISTS (SELECT FROM parties AS p WHERE p.session_id = r.session AND p.address = r.address)
            EXCEPT SELECT n.session_id, n.sender FROM new AS n) AS h
    )
    SELECT array_agg(p.place ORDER BY p.place) INTO late FROM placed AS p WHERE NOT p.in_order;
    RETURN coalesce(late, '{}');
END $$;
REVOKE ALL ON FUNCTION append_talks FROM PUBLIC;

-- Store talks, one of a conversation, in the transaction of note_messages(); return the places (from 0) of
-- those that come out of order: log_activities() takes them, activity by activity.
-- A talk is an activity, or the sum of several in which nothing but IMs is told, of any senders, none later
-- than an idle time after the others. Then rows are its activities, each of a sender and a minute, of the
-- talk's scope and pool if they name none; voices are what each sender said in all of them; hearers are the
-- recipients that said nothing. It has the first one's sender, client and pool.
CREATE OR REPLACE FUNCTION log_talks(talks jsonb, idle interval) RETURNS integer[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = cdr, pg_temp SET timezone = 'UTC' AS $$
BEGIN
    RETURN append_talks(talks, idle);
END $$;
REVOKE ALL ON FUNCTION log_talks FROM PUBLIC;
GRANT EXECUTE ON FUNCTION log_talks TO lcs_archiving;

-- Store an activity that comes out of order.
-- The sessions that it may have to do with are made anew of all that was told of them, from the first to the
-- last, each as if it came then. They keep their numbers, one after the other.
CREATE OR REPLACE FUNCTION insert_activity(activity jsonb, idle interval) RETURNS void
LANGUAGE plpgsql SET search_path = cdr, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    far interval := reach(idle);
    a record;
    t record;
    low timestamptz;
    high timestamptz;
    marked boolean;
    near record;
    places tid[] := '{}';
    owners integer[] := '{}';
    -- Of each session, in the order in which they begin.
    numbers bigint[] := '{}';
    lasts timestamptz[] := '{}';
    ends timestamptz[] := '{}';
    invites boolean[] := '{}';
    open integer[] := '{}';
    still integer[];
    one integer;
    owner integer;
BEGIN
    SELECT r.conversation, r.first, r.last, r.sender, r.recipients, r.client, r.scope, r.pool, r.invited, r.ended, r.sent,
           r.archived, r.passed, r.unseen, r.attempts
    INTO a FROM read_activities(jsonb_build_array(activity)) AS r;
    low := a.first;
    high := a.last;
    marked := a.invited OR a.ended IS NOT NULL;
    LOOP
        SELECT array_agg(s.id ORDER BY s.started_at, s.id) AS ids, least(low, min(s.started_at)) AS low,
               greatest(high, max(s.last_at)) AS high, marked OR coalesce(bool_or(s.invited OR s.orphan), false) AS marked
        INTO near FROM sessions AS s
        WHERE s.conversation = a.conversation AND s.last_slot >= slot_of(low - far) AND s.last_at >= low - far
              AND s.started_at <= high + far
              AND (marked OR s.invited OR s.orphan OR s.last_at >= low - idle AND s.started_at <= high + idle);
        EXIT WHEN (near.low, near.high, near.marked) = (low, high, marked);
        low := near.low;
        high := near.high;
        marked := near.marked;
    END LOOP;
    WITH summed AS ( -- each activity by itself again: they may be of several sessions now
        DELETE FROM activities AS x WHERE x.session_id = ANY (near.ids) AND x.parts IS NOT NULL
        RETURNING x.session_id, x.first, x.sender, x.recipients, x.client, x.scope, x.pool, x.parts
    )
    INSERT INTO activities (session_id, first, last, sender, recipients, client, scope, pool, invited, sent, archived, passed)
    SELECT x.session_id, x.first + p.after, x.first + p.after + p.length, x.sender, x.recipients, x.client, x.scope, x.pool,
           false, p.archived + CASE WHEN p.passed IS NULL THEN 0 ELSE total_of(p.passed) END, p.archived, p.passed
    FROM summed AS x, parts_of(x.parts) AS p;
    INSERT INTO activities (session_id, first, last, sender, recipients, client, scope, pool, invited, ended, sent, archived,
                            passed, unseen, attempts)
    VALUES (near.ids[1], a.first, a.last, a.sender, a.recipients, a.client, a.scope, a.pool, a.invited, a.ended, a.sent,
            a.archived, a.passed, a.unseen, a.attempts);
    FOR t IN
        SELECT x.ctid AS place, x.first, x.last, x.invited, x.ended, x.sent, x.unseen, x.attempts
        FROM activities AS x WHERE x.session_id = ANY (near.ids)
        ORDER BY x.first, x.invited DESC, x.ended IS NOT NULL, x.last DESC, x.sender, x.recipients, x.client, x.ended, x.scope,
                 x.pool
    LOOP
        owner := 0;
        still := '{}';
        FOREACH one IN ARRAY open LOOP
            -- What takes nothing of this time takes nothing later.
            CONTINUE WHEN ends[one] < t.first OR lasts[one] < t.first - CASE WHEN invites[one] THEN far ELSE idle END;
            still := still || one;
            IF (NOT t.invited OR invites[one] AND ends[one] IS NULL) AND (owner = 0 OR lasts[one] >= lasts[owner]) THEN
                owner := one;
            END IF;
        END LOOP;
        open := still;
        IF owner = 0 THEN
            owner := cardinality(numbers) + 1;
            numbers[owner] := coalesce(near.ids[owner], nextval('sessions_id_seq'));
            lasts[owner] := t.last;
            ends[owner] := NULL;
            invites[owner] := t.invited;
            IF t.invited OR t.sent > 0 OR t.unseen IS NOT NULL OR t.attempts IS NOT NULL THEN -- else it is an orphan
                open := open || owner;
            END IF;
        END IF;
        lasts[owner] := greatest(lasts[owner], t.last);
        IF t.ended IS NOT NULL THEN
            ends[owner] := t.last;
        END IF;
        places := places || t.place;
        owners := owners || owner;
    END LOOP;
    DELETE FROM parties AS p WHERE p.session_id = ANY (near.ids);
    DELETE FROM sessions AS s WHERE s.id = ANY (near.ids);
    WITH told AS MATERIALIZED (
        SELECT o.owner, o.turn, x.first, x.last, x.sender, x.client, x.scope, x.pool, x.invited, x.ended, x.sent, x.archived,
               x.passed, x.unseen, x.attempts
        FROM unnest(places, owners) WITH ORDINALITY AS o (place, owner, turn) JOIN activities AS x ON x.ctid = o.place
    )
    INSERT INTO sessions (id, conversation, invited, scope, pool, caller, client, started_at, last_at, ended_at, ended,
                          archived, passed, unseen, orphan) OVERRIDING SYSTEM VALUE
    SELECT numbers[x.owner], a.conversation, (array_agg(x.invited ORDER BY x.turn))[1],
           CASE WHEN bool_or(x.scope = 'federated') THEN 'federated' ELSE 'internal' END,
           (array_agg(x.pool ORDER BY x.turn))[1], (array_agg(x.sender ORDER BY x.turn))[1],
           coalesce((array_agg(x.client ORDER BY x.turn))[1], ''), min(x.first), max(x.last),
           (array_agg(x.last ORDER BY x.turn DESC) FILTER (WHERE x.ended IS NOT NULL))[1],
           (array_agg(x.ended ORDER BY x.turn DESC) FILTER (WHERE x.ended IS NOT NULL))[1],
           sum(x.archived), sum_counts(coalesce(x.passed, '{}')),
           ARRAY(SELECT DISTINCT kind FROM told AS u, unnest(u.unseen) AS kind WHERE u.owner = x.owner ORDER BY kind),
           bool_and(NOT x.invited AND x.sent = 0 AND x.unseen IS NULL AND x.attempts IS NULL)
    FROM told AS x GROUP BY x.owner;
    WITH told AS MATERIALIZED (
        SELECT o.owner, x.last, x.sender, x.recipients, x.client, x.sent, x.attempts
        FROM unnest(places, owners) AS o (place, owner) JOIN activities AS x ON x.ctid = o.place
    )
    INSERT INTO parties (session_id, address, sent, client, client_at, attempts)
    SELECT numbers[r.owner], r.address, sum(r.sent),
           (array_agg(r.client ORDER BY r.client_at DESC, r.client DESC) FILTER (WHERE r.client IS NOT NULL))[1],
           max(r.client_at), sum_counts(coalesce(r.attempts, '{}'))
    FROM (
        SELECT x.owner, x.sender AS address, x.sent, x.client, CASE WHEN x.client IS NOT NULL THEN x.last END AS client_at,
               x.attempts
        FROM told AS x
        UNION ALL
        SELECT x.owner, unnest(x.recipients), 0, NULL, NULL, NULL FROM told AS x
    ) AS r GROUP BY r.owner, r.address;
    UPDATE activities AS x SET session_id = numbers[o.owner] FROM unnest(places, owners) AS o (place, owner)
    WHERE x.ctid = o.place AND x.session_id <> numbers[o.owner];
END $$;
REVOKE ALL ON FUNCTION insert_activity FROM PUBLIC;

-- Store what one AMQP message brings; return whether it was new.
-- It goes in rounds, with one activity of each conversation, as a set; what a round leaves over has come out
-- of order.
CREATE OR REPLACE FUNCTION log_activities(message uuid, activities jsonb, idle interval) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = cdr, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    round jsonb;
    place integer;
BEGIN
    IF note_messages(ARRAY[message]) = '{}' THEN
        RETURN false;
    END IF;
    FOR round IN
        SELECT jsonb_agg(r.activity) FROM (
            SELECT a.activity, row_number() OVER (
                PARTITION BY a.activity ->> 'conversation'
                ORDER BY (a.activity ->> 'first')::timestamptz, a.activity -> 'invited' DESC) AS turn
            FROM jsonb_array_elements(activities) AS a (activity)) AS r
        GROUP BY r.turn ORDER BY r.turn
    LOOP
        FOREACH place IN ARRAY append_talks(round, idle) LOOP
            PERFORM insert_activity(round -> place, idle);
        END LOOP;
    END LOOP;
    RETURN true;
END $$;
REVOKE ALL ON FUNCTION log_activities FROM PUBLIC;
GRANT EXECUTE ON FUNCTION log_activities TO lcs_archiving;

-- End sessions in which nothing came for an idle time, and return how many; forget which old AMQP messages
-- are stored.
-- It waits for nobody: another worker that ends sessions, or stores, takes rows in an order of its own.
CREATE OR REPLACE FUNCTION end_idle(idle interval) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = cdr, pg_temp AS $$
    DELETE FROM messages WHERE id IN (
        SELECT id FROM messages WHERE stored_at < now() - interval '30 days' FOR UPDATE SKIP LOCKED);
    WITH quiet AS (
        SELECT id FROM sessions
        WHERE ended_at IS NULL AND last_slot < now() - idle
              AND last_at < now() - CASE WHEN invited THEN greatest(idle, '12 hours') ELSE idle END
        FOR NO KEY UPDATE SKIP LOCKED
    ), done AS (
        UPDATE sessions AS s SET ended_at = s.last_at, ended = 'idle' FROM quiet AS q WHERE s.id = q.id
        RETURNING 1
    ) SELECT count(*) FROM done
$$;
REVOKE ALL ON FUNCTION end_idle FROM PUBLIC;
GRANT EXECUTE ON FUNCTION end_idle TO lcs_archiving;

-- Show each session with its parties. An end without a begin is shown to nobody.
CREATE OR REPLACE VIEW session_list AS
SELECT s.id, s.conversation, s.invited, s.scope, s.pool, s.caller, s.client, s.started_at, s.last_at, s.ended_at,
       s.ended, s.archived + total_of(s.passed) AS messages, s.archived, s.passed,
       ARRAY(SELECT p.address FROM parties AS p WHERE p.session_id = s.id ORDER BY p.address) AS parties,
       ARRAY(SELECT p.sent FROM parties AS p WHERE p.session_id = s.id ORDER BY p.address) AS sent,
       ARRAY(SELECT p.client FROM parties AS p WHERE p.session_id = s.id ORDER BY p.address) AS clients,
       s.unseen,
       ARRAY(SELECT p.attempts FROM parties AS p WHERE p.session_id = s.id ORDER BY p.address) AS attempts
FROM sessions AS s WHERE NOT s.orphan;
GRANT SELECT ON session_list TO lcs_admin;

-- Show who took part in which session.
CREATE OR REPLACE VIEW party_list AS SELECT address, session_id FROM parties;
GRANT SELECT ON party_list TO lcs_admin;

-- Show what participants tried past the archive: kind and count.
CREATE OR REPLACE VIEW attempt_list AS
SELECT p.address, s.last_at, a.key AS kind, a.value::bigint AS count
FROM parties AS p JOIN sessions AS s ON s.id = p.session_id, jsonb_each_text(p.attempts) AS a
WHERE p.attempts <> '{}';
GRANT SELECT ON attempt_list TO lcs_admin;

-- Return who tried most in sessions of the last while.
CREATE OR REPLACE FUNCTION most_attempts(since interval, most integer) RETURNS TABLE (address text, attempts bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = cdr, pg_temp AS $$
    SELECT a.address, sum(a.count)::bigint FROM attempt_list AS a
    WHERE a.last_at > now() - since GROUP BY a.address ORDER BY 2 DESC, 1 LIMIT most
$$;
REVOKE ALL ON FUNCTION most_attempts FROM PUBLIC;
GRANT EXECUTE ON FUNCTION most_attempts TO lcs_archiving;
