-- Order never matters: what is told of a conversation is kept, activity by activity, and its sessions are a function of
-- that. In order they grow with each activity; what comes out of order has the sessions around it put together anew.

SET LOCAL search_path = cdr;

-- What front ends told. Null is nothing.
CREATE TABLE activities (
    session_id bigint NOT NULL,
    first timestamptz NOT NULL,
    last timestamptz NOT NULL,
    sender text NOT NULL,
    recipients text[] NOT NULL,
    client text,
    scope text NOT NULL,
    pool text NOT NULL,
    invited boolean NOT NULL,
    ended text,
    sent bigint NOT NULL,
    archived bigint NOT NULL,
    passed jsonb,
    unseen text[],
    attempts jsonb
);
COMMENT ON COLUMN activities.session_id IS 'no foreign key: sessions are made anew, with the same numbers';
COMMENT ON COLUMN activities.sent IS 'IMs: archived, and passed by policy';

ALTER TABLE sessions ADD COLUMN orphan boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN sessions.orphan IS 'an end without a begin: shown to nobody, but its begin may still come';
ALTER TABLE parties ADD COLUMN client_at timestamptz;
COMMENT ON COLUMN parties.client_at IS 'when client was last seen; null: in an older version';

-- Sessions of before: what was told of them is lost, their sums are not.
INSERT INTO activities (session_id, first, last, sender, recipients, client, scope, pool, invited, sent, archived, passed,
                        unseen, attempts)
SELECT s.id, s.started_at, CASE WHEN p.address = s.caller THEN s.last_at ELSE s.started_at END, p.address, '{}', p.client,
       s.scope, s.pool, s.invited AND p.address = s.caller, p.sent,
       CASE WHEN p.address = s.caller THEN s.archived ELSE 0 END,
       CASE WHEN p.address = s.caller THEN nullif(s.passed, '{}') END,
       CASE WHEN p.address = s.caller THEN nullif(s.unseen, '{}') END, nullif(p.attempts, '{}')
FROM sessions AS s JOIN parties AS p ON p.session_id = s.id;
INSERT INTO activities (session_id, first, last, sender, recipients, scope, pool, invited, ended, sent, archived)
SELECT id, ended_at, ended_at, caller, '{}', scope, pool, false, ended, 0, 0
FROM sessions WHERE ended <> 'idle';
CREATE INDEX activities_session ON activities (session_id);
CREATE INDEX activities_first ON activities (first);
-- Front ends of before made sums of any length.
CREATE INDEX activities_long ON activities (last) WHERE last - first > interval '10 seconds';

CREATE AGGREGATE sum_counts(jsonb) (SFUNC = add_counts, STYPE = jsonb, INITCOND = '{}');

-- How far two sessions of a conversation may be from each other and still be one.
CREATE FUNCTION reach(idle interval) RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT greatest(idle, '12 hours') $$;

-- Store what one AMQP message brings; returns whether it was new. It goes in rounds, with one activity of each
-- conversation, as a set; what a round leaves over has come out of order.
CREATE OR REPLACE FUNCTION log_activities(message uuid, activities jsonb, idle interval) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = cdr, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    round jsonb;
    late jsonb;
    each jsonb;
BEGIN
    -- One at a time: else two would each begin a session of the same conversation.
    PERFORM pg_advisory_xact_lock(hashtext('cdr.log_activities'));
    INSERT INTO messages (id) VALUES (message) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
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
        late := append_activities(round, idle);
        FOR each IN SELECT * FROM jsonb_array_elements(late) LOOP
            PERFORM insert_activity(each, idle);
        END LOOP;
    END LOOP;
    RETURN true;
END $$;

-- The activities of a JSON array: each as it came, and as it is kept.
CREATE FUNCTION read_activities(activities jsonb) RETURNS TABLE (
    activity jsonb, conversation text, first timestamptz, last timestamptz, sender text, recipients text[], client text,
    scope text, pool text, invited boolean, ended text, sent bigint, archived bigint, passed jsonb, unseen text[],
    attempts jsonb)
LANGUAGE sql STABLE AS $$
    SELECT e.activity, r.conversation, r.first, greatest(r.first, r.last), r.sender, r.recipients, r.client, r.scope, r.pool,
           r.invited, nullif(r.ended, ''),
           r.archived + CASE WHEN r.passed = '{}' THEN 0 ELSE cdr.total_of(r.passed) END, r.archived, nullif(r.passed, '{}'),
           nullif(r.unseen, '{}'), nullif(r.attempts, '{}')
    FROM jsonb_array_elements(activities) AS e (activity), jsonb_to_record(e.activity) AS r (
        conversation text, sender text, recipients text[], scope text, pool text, client text,
        first timestamptz, last timestamptz, archived bigint, passed jsonb, invited boolean, ended text,
        unseen text[], attempts jsonb)
$$;

-- Store activities that come in order, one of a conversation; returns the others. In order is what has no session of its
-- conversation near it, what is later than all that is near, and what was said in the midst of the one session near it.
CREATE FUNCTION append_activities(activities jsonb, idle interval) RETURNS jsonb
LANGUAGE plpgsql SET search_path = cdr, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    far interval := reach(idle);
    late jsonb;
BEGIN
    WITH placed AS MATERIALIZED (
        SELECT a.*, s.session,
               CASE WHEN a.invited OR a.ended IS NOT NULL OR s.marked
                    THEN s.far = 0 OR a.first > s.far_last
                         OR s.far = 1 AND s.inside AND NOT a.invited AND a.ended IS NULL
                    ELSE s.close = 0 OR a.first > s.close_last OR s.close = 1 AND s.inside END AS in_order
        FROM read_activities(activities) AS a CROSS JOIN LATERAL (
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
                       AND (s.ended IS NULL OR s.ended = 'idle' OR NOT a.invited AND a.first <= s.ended_at) AS takes
                FROM sessions AS s
                WHERE s.conversation = a.conversation AND s.last_at >= a.first - far AND s.started_at <= a.last + far
            ) AS c
        ) AS s
    ), told AS MATERIALIZED (
        SELECT p.*, coalesce(p.session, nextval('sessions_id_seq')) AS session_id FROM placed AS p WHERE p.in_order
    ), kept AS (
        INSERT INTO activities (session_id, first, last, sender, recipients, client, scope, pool, invited, ended, sent,
                                archived, passed, unseen, attempts)
        SELECT t.session_id, t.first, t.last, t.sender, t.recipients, t.client, t.scope, t.pool, t.invited, t.ended, t.sent,
               t.archived, t.passed, t.unseen, t.attempts
        FROM told AS t
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
        SET sent = p.sent + t.sent,
            client = CASE WHEN p.client_at IS NULL OR (t.last, t.client) >= (p.client_at, p.client)
                          THEN t.client ELSE p.client END,
            client_at = greatest(p.client_at, t.last),
            attempts = CASE WHEN t.attempts IS NULL THEN p.attempts ELSE add_counts(p.attempts, t.attempts) END
        FROM told AS t WHERE p.session_id = t.session AND p.address = t.sender
    ), met AS (
        INSERT INTO parties (session_id, address, sent, client, client_at, attempts)
        SELECT t.session_id, t.sender, t.sent, t.client, t.last, coalesce(t.attempts, '{}') FROM told AS t
        WHERE t.session IS NULL
              OR NOT EXISTS (SELECT FROM parties AS p WHERE p.session_id = t.session AND p.address = t.sender)
        UNION ALL
        SELECT DISTINCT t.session_id, r, 0, NULL, NULL::timestamptz, '{}'::jsonb FROM told AS t, unnest(t.recipients) AS r
        WHERE r <> t.sender
              AND (t.session IS NULL
                   OR NOT EXISTS (SELECT FROM parties AS p WHERE p.session_id = t.session AND p.address = r))
    )
    SELECT jsonb_agg(p.activity) INTO late FROM placed AS p WHERE NOT p.in_order;
    RETURN coalesce(late, '[]');
END $$;

-- Store an activity that comes out of order: the sessions that it may have to do with are made anew of all that was told
-- of them, from the first to the last, each as if it came then. They keep their numbers, one after the other.
CREATE FUNCTION insert_activity(activity jsonb, idle interval) RETURNS void
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
        WHERE s.conversation = a.conversation AND s.last_at >= low - far AND s.started_at <= high + far
              AND (marked OR s.invited OR s.orphan OR s.last_at >= low - idle AND s.started_at <= high + idle);
        EXIT WHEN (near.low, near.high, near.marked) = (low, high, marked);
        low := near.low;
        high := near.high;
        marked := near.marked;
    END LOOP;
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

CREATE OR REPLACE VIEW session_list AS
SELECT s.id, s.conversation, s.invited, s.scope, s.pool, s.caller, s.client, s.started_at, s.last_at, s.ended_at,
       s.ended, s.archived + cdr.total_of(s.passed) AS messages, s.archived, s.passed,
       ARRAY(SELECT p.address FROM cdr.parties AS p WHERE p.session_id = s.id ORDER BY p.address) AS parties,
       ARRAY(SELECT p.sent FROM cdr.parties AS p WHERE p.session_id = s.id ORDER BY p.address) AS sent,
       ARRAY(SELECT p.client FROM cdr.parties AS p WHERE p.session_id = s.id ORDER BY p.address) AS clients,
       s.unseen,
       ARRAY(SELECT p.attempts FROM cdr.parties AS p WHERE p.session_id = s.id ORDER BY p.address) AS attempts
FROM cdr.sessions AS s WHERE NOT s.orphan;

-- What the records say was archived of each conversation, and what is in the archive: of these times, widened to the ten
-- seconds in which a front end begins a sum anew; and in how many minutes the two differ. Sums of front ends of before go
-- over minutes: a conversation that has one is compared as a whole, and each sum counts where it begins.
DROP FUNCTION reconcile(timestamptz, timestamptz);
CREATE FUNCTION reconcile(since timestamptz, until timestamptz)
RETURNS TABLE (conversation text, recorded bigint, passed bigint, archived bigint, differing bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = cdr, archive, pg_temp SET work_mem = '64MB'
SET timezone = 'UTC' AS $$
#variable_conflict use_column
DECLARE
    step interval := '10 seconds';
    low timestamptz := date_bin(step, since, 'epoch');
    high timestamptz := date_bin(step, until + step - interval '1 microsecond', 'epoch');
    low_id uuid := lowest_id(low);
    high_id uuid := lowest_id(high + interval '1 millisecond');
BEGIN
    RETURN QUERY
    WITH told AS MATERIALIZED (
        SELECT s.conversation, date_trunc('minute', a.first) AS minute, sum(a.archived) AS recorded,
               sum(CASE WHEN a.passed IS NULL THEN 0 ELSE total_of(a.passed) END) AS passed, max(a.last) AS last,
               bool_or(date_trunc('minute', a.first) < date_trunc('minute', a.last)) AS crosses
        FROM activities AS a JOIN sessions AS s ON s.id = a.session_id
        WHERE a.first >= low AND a.first < high AND NOT s.orphan GROUP BY 1, 2
    ), kept AS MATERIALIZED (
        SELECT c.name AS conversation, k.minute, k.n FROM (
            SELECT m.conversation_id, date_trunc('minute', m.sent_at) AS minute, count(*) AS n FROM archive.messages AS m
            WHERE m.sent_at >= low AND m.sent_at < high AND m.id >= low_id AND m.id < high_id
            GROUP BY 1, 2
        ) AS k JOIN archive.conversations AS c ON c.id = k.conversation_id
    ), earlier AS MATERIALIZED ( -- sums begun before that go on: what belongs to them is not counted here
        SELECT s.conversation, max(a.last) AS last FROM (
            SELECT b.session_id, b.last FROM activities AS b WHERE b.first >= low - step AND b.first < low AND b.last >= low
            UNION ALL
            SELECT b.session_id, b.last FROM activities AS b
            WHERE b.last >= low AND b.first < low AND b.last - b.first > interval '10 seconds'
        ) AS a JOIN sessions AS s ON s.id = a.session_id GROUP BY 1
    ), late AS MATERIALIZED ( -- sums begun within these times that go on after them
        SELECT t.conversation, max(t.last) AS last FROM told AS t GROUP BY 1 HAVING max(t.last) >= high
    ), counted AS (
        SELECT t.conversation, t.minute, t.recorded, t.passed, 0 AS archived FROM told AS t
        UNION ALL
        SELECT k.conversation, k.minute, 0, 0, k.n FROM kept AS k
        UNION ALL
        SELECT e.conversation, low, 0, 0, -(
            SELECT count(*) FROM archive.messages AS m
            WHERE m.conversation_id = c.id AND m.sent_at >= low AND m.id >= low_id AND m.sent_at < high
                  AND m.id < high_id AND m.sent_at <= e.last)
        FROM earlier AS e JOIN archive.conversations AS c ON c.name = e.conversation
        UNION ALL
        SELECT l.conversation, low, 0, 0, (
            SELECT count(*) FROM archive.messages AS m
            WHERE m.conversation_id = c.id AND m.sent_at >= high AND m.id >= lowest_id(high) AND m.sent_at <= l.last)
        FROM late AS l JOIN archive.conversations AS c ON c.name = l.conversation
    ), whole AS (
        SELECT conversation FROM told WHERE crosses UNION SELECT conversation FROM earlier
    ), compared AS (
        SELECT c.conversation, sum(c.recorded) AS recorded, sum(c.passed) AS passed, sum(c.archived) AS archived
        FROM counted AS c LEFT JOIN whole AS w ON w.conversation = c.conversation
        GROUP BY 1, CASE WHEN w.conversation IS NULL THEN c.minute END
    )
    SELECT conversation, sum(recorded)::bigint, sum(passed)::bigint, sum(archived)::bigint,
           count(*) FILTER (WHERE recorded <> archived)
    FROM compared GROUP BY 1;
END $$;

REVOKE ALL ON FUNCTION reach, sum_counts, read_activities, append_activities, insert_activity, reconcile FROM PUBLIC;
GRANT EXECUTE ON FUNCTION reconcile TO lcs_admin;
