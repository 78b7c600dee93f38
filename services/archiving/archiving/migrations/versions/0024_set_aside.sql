-- IMs that are parked or discarded are counted by the call detail records and are not in messages: of which conversation
-- and time they are is kept, as far as it can be read, so that the two agree.

SET LOCAL search_path = archive;

CREATE TABLE parked_numbers (
    parked_id bigint NOT NULL REFERENCES parked ON DELETE CASCADE,
    agent uuid NOT NULL,
    seq bigint NOT NULL,
    conversation text NOT NULL,
    im uuid NOT NULL,
    sent_at timestamptz NOT NULL,
    PRIMARY KEY (parked_id, agent, seq)
);
COMMENT ON TABLE parked_numbers IS 'what can be read of IMs in parked; whether one counts as parked is for agents to say';
COMMENT ON COLUMN parked_numbers.sent_at IS 'the time inside its id';
CREATE INDEX parked_numbers_sent ON parked_numbers (sent_at);
CREATE INDEX parked_at ON parked (parked_at) WHERE kind = 'im';

-- What can be read of a parked body, line by line. Agent and number are those that it was accounted for with: by its place
-- where the message's headers tell them, else its own.
CREATE FUNCTION read_parked(body bytea, named uuid, first_seq bigint, ims integer)
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

CREATE OR REPLACE FUNCTION park(
    key bytea, reason text, body bytea, properties jsonb, pool text, agent uuid, first_seq bigint, ims integer
) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    WITH new AS (
        INSERT INTO parked (key, reason, body, properties, pool, agent, first_seq, ims)
        VALUES (park.key, park.reason, park.body, park.properties, park.pool, park.agent, park.first_seq, park.ims)
        ON CONFLICT DO NOTHING RETURNING *
    )
    INSERT INTO parked_numbers (parked_id, agent, seq, conversation, im, sent_at)
    SELECT n.id, r.agent, r.seq, r.conversation, r.im, r.sent_at
    FROM new AS n, read_parked(n.body, n.agent, n.first_seq, n.ims) AS r
    ON CONFLICT DO NOTHING
$$;
INSERT INTO parked_numbers (parked_id, agent, seq, conversation, im, sent_at)
SELECT p.id, r.agent, r.seq, r.conversation, r.im, r.sent_at
FROM parked AS p, read_parked(p.body, p.agent, p.first_seq, p.ims) AS r WHERE p.kind = 'im'
ON CONFLICT DO NOTHING;

-- IMs that were parked in these full minutes, and wait or are discarded, of which nobody can tell the conversation, or that
-- are not accounted for. What an agent states of itself is none.
CREATE FUNCTION cdr.count_unattributed(since timestamptz, until timestamptz) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    SELECT coalesce(sum(greatest(0, p.ims - (
        SELECT count(*) FROM parked_numbers AS n JOIN agents AS a ON a.agent = n.agent
        WHERE n.parked_id = p.id AND (a.parked @> n.seq OR a.archived @> n.seq)))), 0)::bigint
    FROM parked AS p
    WHERE p.kind = 'im' AND p.properties ->> 'type' IS DISTINCT FROM 'lcs.agent.v1'
          AND p.state <> 'replayed' AND p.parked_at >= date_bin('1 minute', since, 'epoch')
          AND p.parked_at < date_bin('1 minute', until + interval '1 minute' - interval '1 microsecond', 'epoch')
$$;

-- A number counts unless its agent ended before it: then its publish was of unknown outcome, and the IM was refused or
-- came again under another, which counts.
CREATE FUNCTION counts(agent agents, seq bigint) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$ SELECT agent.ended_at IS NULL OR seq <= agent.confirmed $$;

-- An IM in messages counts as often as numbers count under which it came, at least once; one that is not there, never.
CREATE VIEW counted AS
SELECT id, sent_at, conversation_id FROM messages
UNION ALL
SELECT d.id, d.sent_at, d.conversation_id FROM (
    SELECT d.id, d.sent_at, d.conversation_id, counts(a, m.seq) AS first_counts,
           row_number() OVER (PARTITION BY d.id, d.sent_at, d.conversation_id) AS place
    FROM duplicates AS d JOIN agents AS b ON b.id = d.agent_id AND counts(b, d.seq)
    JOIN messages AS m ON m.id = d.id AND m.sent_at = d.sent_at JOIN agents AS a ON a.id = m.agent_id
) AS d WHERE d.place > CASE WHEN d.first_counts THEN 0 ELSE 1 END;

-- As before, but its times are widened to the minutes over which no row of a talk goes; an IM that came twice counts twice;
-- and what is set aside counts beside what is archived: IMs whose numbers are accounted for as parked, and not as archived,
-- and that are still in parked. So what is deleted by hand, there or in messages, differs.
DROP FUNCTION cdr.reconcile(timestamptz, timestamptz);
CREATE FUNCTION cdr.reconcile(since timestamptz, until timestamptz)
RETURNS TABLE (conversation text, recorded bigint, passed bigint, archived bigint, differing bigint, parked bigint,
               discarded bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = cdr, archive, pg_temp SET work_mem = '64MB'
SET timezone = 'UTC' AS $$
#variable_conflict use_column
DECLARE
    step interval := '1 minute';
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
            SELECT m.conversation_id, date_trunc('minute', m.sent_at) AS minute, count(*) AS n FROM archive.counted AS m
            WHERE m.sent_at >= low AND m.sent_at < high AND m.id >= low_id AND m.id < high_id
            GROUP BY 1, 2
        ) AS k JOIN archive.conversations AS c ON c.id = k.conversation_id
    ), earlier AS MATERIALIZED ( -- sums begun before that go on: what belongs to them is not counted here
        SELECT s.conversation, max(a.last) AS last FROM (
            SELECT b.session_id, b.last FROM activities AS b WHERE b.first >= low - step AND b.first < low AND b.last >= low
            UNION ALL
            SELECT b.session_id, b.last FROM activities AS b
            WHERE b.last >= low AND b.first < low AND b.last - b.first > interval '1 minute'
        ) AS a JOIN sessions AS s ON s.id = a.session_id GROUP BY 1
    ), late AS MATERIALIZED ( -- sums begun within these times that go on after them
        SELECT t.conversation, max(t.last) AS last FROM told AS t GROUP BY 1 HAVING max(t.last) >= high
    ), parked AS ( -- a number that is parked twice, alone and with its whole message, is one
        SELECT DISTINCT ON (n.agent, n.seq) n.*, p.state = 'discarded' AS discarded
        FROM archive.parked_numbers AS n
        JOIN archive.parked AS p ON p.id = n.parked_id AND p.state <> 'replayed'
        JOIN archive.agents AS a ON a.agent = n.agent AND a.parked @> n.seq AND archive.counts(a, n.seq)
        WHERE n.sent_at >= low AND n.sent_at <= greatest(high, (SELECT max(l.last) FROM late AS l))
        ORDER BY n.agent, n.seq, p.state = 'discarded', p.id
    ), aside AS MATERIALIZED ( -- in messages under a number that doesn't count, an IM stands there for one that does
        SELECT p.conversation, p.sent_at, p.discarded
        FROM (SELECT p.*, row_number() OVER (PARTITION BY p.im ORDER BY p.agent, p.seq) AS place FROM parked AS p) AS p
        WHERE p.place > 1 OR NOT EXISTS (
            SELECT FROM archive.messages AS m JOIN archive.agents AS a ON a.id = m.agent_id
            WHERE m.id = p.im AND m.sent_at = p.sent_at AND NOT archive.counts(a, m.seq) AND NOT EXISTS (
                SELECT FROM archive.duplicates AS d JOIN archive.agents AS b ON b.id = d.agent_id
                WHERE d.id = m.id AND archive.counts(b, d.seq)))
    ), counted AS (
        SELECT t.conversation, t.minute, t.recorded, t.passed, 0 AS archived, 0 AS parked, 0 AS discarded FROM told AS t
        UNION ALL
        SELECT k.conversation, k.minute, 0, 0, k.n, 0, 0 FROM kept AS k
        UNION ALL
        SELECT e.conversation, low, 0, 0, -(
            SELECT count(*) FROM archive.counted AS m
            WHERE m.conversation_id = c.id AND m.sent_at >= low AND m.id >= low_id AND m.sent_at < high
                  AND m.id < high_id AND m.sent_at <= e.last), 0, 0
        FROM earlier AS e JOIN archive.conversations AS c ON c.name = e.conversation
        UNION ALL
        SELECT l.conversation, low, 0, 0, (
            SELECT count(*) FROM archive.counted AS m
            WHERE m.conversation_id = c.id AND m.sent_at >= high AND m.id >= lowest_id(high) AND m.sent_at <= l.last), 0, 0
        FROM late AS l JOIN archive.conversations AS c ON c.name = l.conversation
        UNION ALL
        SELECT a.conversation, date_trunc('minute', a.sent_at), 0, 0, 0, (NOT a.discarded)::integer, a.discarded::integer
        FROM aside AS a
        LEFT JOIN earlier AS e ON e.conversation = a.conversation LEFT JOIN late AS l ON l.conversation = a.conversation
        WHERE CASE WHEN a.sent_at < high THEN e.last IS NULL OR a.sent_at > e.last ELSE a.sent_at <= l.last END
    ), whole AS (
        SELECT conversation FROM told WHERE crosses UNION SELECT conversation FROM earlier
    ), compared AS (
        SELECT c.conversation, sum(c.recorded) AS recorded, sum(c.passed) AS passed, sum(c.archived) AS archived,
               sum(c.parked) AS parked, sum(c.discarded) AS discarded
        FROM counted AS c LEFT JOIN whole AS w ON w.conversation = c.conversation
        GROUP BY 1, CASE WHEN w.conversation IS NULL THEN c.minute END
    )
    SELECT conversation, sum(recorded)::bigint, sum(passed)::bigint, sum(archived)::bigint,
           count(*) FILTER (WHERE recorded <> archived + parked + discarded), sum(parked)::bigint, sum(discarded)::bigint
    FROM compared GROUP BY 1;
END $$;

REVOKE ALL ON FUNCTION read_parked, counts, cdr.count_unattributed, cdr.reconcile FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdr.count_unattributed, cdr.reconcile TO lcs_admin;
