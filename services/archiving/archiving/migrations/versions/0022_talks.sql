-- Many messages at a time: all that they tell of a conversation is one talk. It takes its session to be found and changed
-- once, and what somebody said in a minute is one row. Which activities there were is kept in it.

SET LOCAL search_path = cdr;

ALTER TABLE activities ADD COLUMN parts jsonb;
COMMENT ON COLUMN activities.parts IS 'the activities of which this is the sum: microseconds after its first, microseconds long, archived, passed; null: one';

-- Where an index holds the time of what was last said, each word moves the session in it. This moves once in ten minutes.
CREATE FUNCTION slot_of(at timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT date_bin('10 minutes', at, timestamptz '1970-01-01 00:00:00+00') $$;
ALTER TABLE sessions ADD COLUMN last_slot timestamptz NOT NULL
    GENERATED ALWAYS AS (date_bin('10 minutes', last_at, timestamptz '1970-01-01 00:00:00+00')) STORED;
COMMENT ON COLUMN sessions.last_slot IS 'last_at, back to full ten minutes';
DROP INDEX sessions_conversation, sessions_open;
CREATE INDEX sessions_conversation ON sessions (conversation, last_slot);
CREATE INDEX sessions_open ON sessions (last_slot) WHERE ended_at IS NULL;
-- A batch brings all sessions of a page up to date at once: their next versions have room in it.
ALTER TABLE sessions SET (fillfactor = 45);
ALTER TABLE parties SET (fillfactor = 45);

CREATE FUNCTION parts_of(parts jsonb) RETURNS TABLE (after interval, length interval, archived bigint, passed jsonb)
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (p.part ->> 0)::bigint * interval '1 microsecond', (p.part ->> 1)::bigint * interval '1 microsecond',
           (p.part ->> 2)::bigint, p.part -> 3
    FROM jsonb_array_elements(parts) AS p (part)
$$;

-- Take one at a time: else two would each begin a session of the same conversation. Returns which messages are new.
CREATE FUNCTION note_messages(messages uuid[]) RETURNS uuid[]
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

-- Store talks, one of a conversation, in the transaction of note_messages; returns the places (from 0) of those that come
-- out of order: log_activities takes them, activity by activity. A talk is an activity, or the sum of several in which
-- nothing but IMs is told, of any senders, none later than an idle time after the others; then these are its rows, each of
-- a sender and a minute, of its scope and pool if they name none, its voices what each sender said in all of them, and its
-- hearers the recipients that said nothing. It has the first one's sender, client and pool.
CREATE FUNCTION log_talks(talks jsonb, idle interval) RETURNS integer[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = cdr, pg_temp SET timezone = 'UTC' AS $$
BEGIN
    RETURN append_talks(talks, idle);
END $$;

DROP FUNCTION append_activities;
DROP FUNCTION read_activities;
CREATE FUNCTION read_activities(activities jsonb) RETURNS TABLE (
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

-- In order is what has no session of its conversation near it, what is later than all that is near, and what was said in
-- the midst of the one session near it: then all of a talk belongs to one session.
CREATE FUNCTION append_talks(talks jsonb, idle interval) RETURNS integer[]
LANGUAGE plpgsql SET search_path = cdr, pg_temp SET work_mem = '128MB'
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    far interval := reach(idle);
    late integer[];
BEGIN
    WITH near AS (
        SELECT a.*, s.session,
               CASE WHEN a.invited OR a.ended IS NOT NULL OR s.marked
                    THEN s.far = 0 OR a.first > s.far_last
                         OR s.far = 1 AND s.inside AND NOT a.invited AND a.ended IS NULL
                    ELSE s.close = 0 OR a.first > s.close_last OR s.close = 1 AND s.inside END AS in_order
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
        ) AS s
    ), placed AS MATERIALIZED (
        SELECT n.*, CASE WHEN n.in_order THEN coalesce(n.session, nextval('sessions_id_seq')) END AS session_id FROM near AS n
    ), told AS NOT MATERIALIZED (
        SELECT p.* FROM placed AS p WHERE p.in_order
    ), voices AS MATERIALIZED (
        SELECT t.session, t.session_id, t.sender, t.sent, t.last, t.client, t.attempts FROM told AS t WHERE t.rows IS NULL
        UNION ALL
        SELECT t.session, t.session_id, v.sender, v.sent, v.last, v.client, NULL
        FROM told AS t, jsonb_to_recordset(t.voices) AS v (sender text, sent bigint, last timestamptz, client text)
        WHERE t.rows IS NOT NULL
    ), kept AS (
        INSERT INTO activities (session_id, first, last, sender, recipients, client, scope, pool, invited, ended, sent,
                                archived, passed, unseen, attempts, parts)
        SELECT t.session_id, t.first, t.last, t.sender, t.recipients, t.client, t.scope, t.pool, t.invited, t.ended, t.sent,
               t.archived, t.passed, t.unseen, t.attempts, t.parts
        FROM told AS t WHERE t.rows IS NULL
        UNION ALL
        SELECT t.session_id, r.first, r.last, r.sender, r.recipients, r.client, coalesce(r.scope, t.scope),
               coalesce(r.pool, t.pool), false, NULL, r.sent, r.archived, r.passed, NULL, NULL, r.parts
        FROM told AS t, read_activities(t.rows) AS r WHERE t.rows IS NOT NULL
    ), begun AS (
        INSERT INTO sessions (id, conversation, invited, scope, pool, caller, client, started_at, last_at, ended_at, ended,
                              archived, passed, unseen, orphan) OVERRIDING SYSTEM VALUE
        SELECT t.session_id, t.conversation, t.invited, t.scope, t.pool, t.sender, t.client, t.first, t.last,
               CASE WHEN t.ended IS NOT NULL THEN t.last END, t.ended, t.archived, coalesce(t.passed, '{}'),
               coalesce(t.unseen, '{}'), NOT t.invited AND t.sent = 0 AND t.unseen IS NULL AND t.attempts IS NULL
        FROM told AS t WHERE t.session IS NULL
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
        FROM told AS t WHERE s.id = t.session
    ), spoken AS (
        UPDATE parties AS p
        SET sent = p.sent + v.sent,
            client = CASE WHEN p.client_at IS NULL OR (v.last, v.client) >= (p.client_at, p.client)
                          THEN v.client ELSE p.client END,
            client_at = greatest(p.client_at, v.last),
            attempts = CASE WHEN v.attempts IS NULL THEN p.attempts ELSE add_counts(p.attempts, v.attempts) END
        FROM voices AS v WHERE p.session_id = v.session AND p.address = v.sender
    ), new AS MATERIALIZED (
        SELECT v.* FROM voices AS v
        WHERE v.session IS NULL
              OR NOT EXISTS (SELECT FROM parties AS p WHERE p.session_id = v.session AND p.address = v.sender)
    ), met AS (
        INSERT INTO parties (session_id, address, sent, client, client_at, attempts)
        SELECT n.session_id, n.sender, n.sent, n.client, n.last, coalesce(n.attempts, '{}') FROM new AS n
        UNION ALL
        SELECT h.session_id, h.address, 0, NULL, NULL::timestamptz, '{}'::jsonb FROM (
            SELECT r.session_id, r.address FROM (
                SELECT t.session, t.session_id, unnest(t.hearers) AS address FROM told AS t) AS r
            WHERE r.session IS NULL
                  OR NOT EXISTS (SELECT FROM parties AS p WHERE p.session_id = r.session AND p.address = r.address)
            EXCEPT SELECT n.session_id, n.sender FROM new AS n) AS h
    )
    SELECT array_agg(p.place ORDER BY p.place) INTO late FROM placed AS p WHERE NOT p.in_order;
    RETURN coalesce(late, '{}');
END $$;

-- Store an activity that comes out of order: the sessions that it may have to do with are made anew of all that was told
-- of them, from the first to the last, each as if it came then. They keep their numbers, one after the other.
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
    SELECT * INTO a FROM read_activities(jsonb_build_array(activity));
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
        DELETE FROM activities AS x WHERE x.session_id = ANY (near.ids) AND x.parts IS NOT NULL RETURNING x.*
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
        SELECT x.ctid AS place, x.* FROM activities AS x WHERE x.session_id = ANY (near.ids)
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
        SELECT o.owner, o.turn, x.* FROM unnest(places, owners) WITH ORDINALITY AS o (place, owner, turn)
        JOIN activities AS x ON x.ctid = o.place
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
        SELECT o.owner, x.* FROM unnest(places, owners) AS o (place, owner) JOIN activities AS x ON x.ctid = o.place
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

CREATE OR REPLACE FUNCTION end_idle(idle interval) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = cdr, pg_temp AS $$
    DELETE FROM messages WHERE stored_at < now() - interval '30 days';
    WITH done AS (
        UPDATE sessions SET ended_at = last_at, ended = 'idle'
        WHERE ended_at IS NULL AND last_slot < now() - idle
          AND last_at < now() - CASE WHEN invited THEN greatest(idle, '12 hours') ELSE idle END
        RETURNING 1
    ) SELECT count(*) FROM done
$$;

-- No row of a talk goes over a minute: the reconciliation (0023) looks for what does.
DROP INDEX activities_long;
CREATE INDEX activities_long ON activities (last) WHERE last - first > interval '1 minute';

REVOKE ALL ON FUNCTION slot_of, parts_of, note_messages, log_talks, read_activities, append_talks FROM PUBLIC;
GRANT EXECUTE ON FUNCTION note_messages, log_talks TO lcs_archiving;
