-- The archive. Nobody but this schema's owner writes its tables: the archiving service fills its own
-- temporary table and calls log_messages(), as the original's service called the procedure LogMessage.

SET LOCAL search_path = archive;

CREATE TABLE pools (
    id smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE
);

CREATE TABLE users (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE
);
COMMENT ON COLUMN users.name IS 'canonical address, sip:user@domain';

CREATE TABLE conversations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE
);
COMMENT ON COLUMN conversations.name IS 'the key that callers know the conversation by';

CREATE TABLE participants (
    user_id integer NOT NULL REFERENCES users,
    conversation_id bigint NOT NULL REFERENCES conversations,
    PRIMARY KEY (user_id, conversation_id)
);

CREATE TABLE content_types (
    id smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE
);

CREATE TABLE rules (
    id smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE
);

-- One row a start of a front end. The numbers an agent gave its IMs are 1, 2, 3, …: what is neither in
-- archived nor in parked, up to the highest known, is missing.
CREATE TABLE agents (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent uuid NOT NULL UNIQUE,
    pool_id smallint NOT NULL REFERENCES pools,
    front_end text,
    archived int8multirange NOT NULL DEFAULT '{}',
    parked int8multirange NOT NULL DEFAULT '{}',
    confirmed bigint NOT NULL DEFAULT 0,
    first_seen timestamptz NOT NULL DEFAULT now(),
    last_seen timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz
) WITH (fillfactor = 50);
COMMENT ON COLUMN agents.confirmed IS 'the highest number the agent itself says the broker confirmed';

-- No foreign keys here: they cost a third of the rate, and only log_messages() writes, with numbers that
-- intern() gave it. sent_at is the time inside id, so id alone identifies an IM.
CREATE TABLE messages (
    id uuid NOT NULL,
    sent_at timestamptz NOT NULL,
    conversation_id bigint NOT NULL,
    sender_id integer NOT NULL,
    recipient_ids integer[] NOT NULL,
    federated boolean NOT NULL,
    content_type_id smallint NOT NULL,
    body text,
    content bytea,
    agent_id integer NOT NULL,
    seq bigint NOT NULL,
    policy_version bigint NOT NULL,
    rule_id smallint NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id, sent_at),
    CHECK (num_nonnulls(body, content) = 1)
) PARTITION BY RANGE (sent_at);
COMMENT ON COLUMN messages.body IS 'an IM sent as text, unaltered';
COMMENT ON COLUMN messages.content IS 'an IM sent as anything but text, byte for byte';
CREATE INDEX messages_conversation ON messages (conversation_id, id);

-- An IM with a wild date still has a place to go.
CREATE TABLE messages_default PARTITION OF messages DEFAULT;

-- Make the partitions of the month before a day's and of the months after it. Rows of such a month that
-- went to the default partition move with it.
CREATE FUNCTION ensure_partitions(around timestamptz DEFAULT now(), ahead integer DEFAULT 3) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    first timestamptz;
    name text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('archive.ensure_partitions'));
    FOR month IN -1 .. ahead LOOP
        first := date_trunc('month', around) + make_interval(months => month);
        name := 'messages_' || to_char(first, 'YYYY_MM');
        CONTINUE WHEN to_regclass(name) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I (LIKE messages INCLUDING ALL)', name);
        EXECUTE format('WITH moved AS (DELETE FROM messages_default WHERE sent_at >= %L AND sent_at < %L RETURNING *)'
                       ' INSERT INTO %I SELECT * FROM moved', first, first + interval '1 month', name);
        EXECUTE format('ALTER TABLE messages ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                       name, first, first + interval '1 month');
    END LOOP;
END $$;
SELECT ensure_partitions();

-- The ids of some names, new ones made. Sorted, so that two workers never wait for each other in a circle;
-- only missing names are inserted, for a conflict burns a number.
CREATE FUNCTION intern(kind text, names text[]) RETURNS TABLE (name text, id bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF kind NOT IN ('users', 'conversations', 'content_types', 'rules', 'pools') THEN
        RAISE EXCEPTION 'no such kind: %', kind;
    END IF;
    EXECUTE format('INSERT INTO %1$I (name) SELECT n FROM unnest($1) AS n'
                   ' WHERE NOT EXISTS (SELECT FROM %1$I AS t WHERE t.name = n) ORDER BY n ON CONFLICT DO NOTHING', kind)
        USING names;
    RETURN QUERY EXECUTE format('SELECT t.name, t.id::bigint FROM %I AS t WHERE t.name = ANY ($1)', kind) USING names;
END $$;

-- The number of an agent, made if it is new.
CREATE FUNCTION intern_agent(agent uuid, pool text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
DECLARE
    result integer;
BEGIN
    LOOP
        SELECT a.id INTO result FROM agents AS a WHERE a.agent = intern_agent.agent;
        EXIT WHEN FOUND;
        INSERT INTO agents (agent, pool_id) SELECT intern_agent.agent, p.id FROM intern('pools', ARRAY[pool]) AS p
        ON CONFLICT DO NOTHING;
    END LOOP;
    RETURN result;
END $$;

CREATE FUNCTION add_participants(conversation_ids bigint[], user_ids integer[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    INSERT INTO participants (conversation_id, user_id)
    SELECT c, u FROM unnest(conversation_ids, user_ids) AS new (c, u) ORDER BY u, c
    ON CONFLICT DO NOTHING
$$;

-- Once a session: the temporary table that log_messages() reads. Its columns are those of messages up to
-- stored_at, which the database itself sets.
CREATE FUNCTION open_batch() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
BEGIN
    CREATE TEMPORARY TABLE batch (LIKE messages) ON COMMIT DELETE ROWS;
    ALTER TABLE batch DROP COLUMN stored_at;
    EXECUTE format('GRANT INSERT ON batch TO %I', session_user);
END $$;

-- The heir of LogMessage: write the batch, once each, and note the agents' numbers that are now archived
-- or parked. Returns how many IMs were new, and the agents' numbers of the IMs whose id the archive knows with
-- another content: if there are any, the caller must roll back, park them and come again without them.
CREATE FUNCTION log_messages(
    expected integer, agent_ids integer[], archived int8multirange[], parked int8multirange[],
    OUT inserted integer, OUT conflicting_agent_ids integer[], OUT conflicting_seqs bigint[]
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
BEGIN
    INSERT INTO messages SELECT b.*, now() FROM pg_temp.batch AS b ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS inserted = ROW_COUNT;
    IF inserted < expected THEN
        SELECT array_agg(b.agent_id), array_agg(b.seq) INTO conflicting_agent_ids, conflicting_seqs
        FROM pg_temp.batch AS b JOIN messages AS m USING (id, sent_at)
        WHERE (b.conversation_id, b.sender_id, b.recipient_ids, b.content_type_id, b.body, b.content)
              IS DISTINCT FROM
              (m.conversation_id, m.sender_id, m.recipient_ids, m.content_type_id, m.body, m.content);
    END IF;
    -- Last, because until the commit it makes other workers wait that store IMs of the same agent.
    PERFORM FROM agents AS a WHERE a.id = ANY (agent_ids) ORDER BY a.id FOR UPDATE;
    UPDATE agents AS a
    SET archived = a.archived + new.archived,
        parked = (a.parked + new.parked) - (a.archived + new.archived),
        last_seen = now()
    FROM unnest(agent_ids, log_messages.archived, log_messages.parked) AS new (id, archived, parked)
    WHERE a.id = new.id;
END $$;

-- An agent's own word how far it got.
CREATE FUNCTION log_agent(agent_id integer, front_end text, confirmed bigint, ended_at timestamptz) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    UPDATE agents AS a
    SET front_end = log_agent.front_end,
        confirmed = greatest(a.confirmed, log_agent.confirmed),
        ended_at = coalesce(log_agent.ended_at, a.ended_at),
        last_seen = now()
    WHERE a.id = log_agent.agent_id
$$;

-- What the admin API reads.
CREATE VIEW archived_users AS SELECT id, name AS address FROM users;
CREATE VIEW archived_conversations AS SELECT id, name AS conversation FROM conversations;
CREATE VIEW archived_participants AS SELECT user_id, conversation_id FROM participants;
CREATE VIEW archived_messages AS
SELECT m.id, m.sent_at, m.stored_at, m.conversation_id, m.sender_id, m.recipient_ids,
       s.name AS sender,
       ARRAY(SELECT u.name FROM unnest(m.recipient_ids) WITH ORDINALITY AS r (id, place) JOIN users AS u USING (id)
             ORDER BY r.place) AS recipients,
       c.name AS conversation,
       CASE WHEN m.federated THEN 'federated' ELSE 'internal' END AS scope,
       t.name AS content_type, m.body, m.content,
       p.name AS pool, a.agent, m.seq, m.policy_version, r.name AS rule
FROM messages AS m
LEFT JOIN users AS s ON s.id = m.sender_id
LEFT JOIN conversations AS c ON c.id = m.conversation_id
LEFT JOIN content_types AS t ON t.id = m.content_type_id
LEFT JOIN agents AS a ON a.id = m.agent_id
LEFT JOIN pools AS p ON p.id = a.pool_id
LEFT JOIN rules AS r ON r.id = m.rule_id;

CREATE FUNCTION size_of(numbers int8multirange) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(sum(upper(n) - lower(n)), 0)::bigint FROM unnest(numbers) AS n
$$;

CREATE VIEW completeness AS
SELECT a.agent, p.name AS pool, a.front_end, a.first_seen, a.last_seen, a.ended_at, k.highest AS accepted,
       size_of(a.archived) AS archived, size_of(a.parked) AS parked,
       size_of(k.missing) AS missing, k.missing AS missing_numbers
FROM agents AS a
JOIN pools AS p ON p.id = a.pool_id
CROSS JOIN LATERAL (SELECT greatest(a.confirmed, upper(a.archived) - 1, upper(a.parked) - 1) AS h) AS g
CROSS JOIN LATERAL (SELECT g.h AS highest,
                           int8multirange(int8range(1, g.h + 1)) - a.archived - a.parked AS missing) AS k;

-- Rights: the roles are made with the database (deploy/postgres/roles.sql).
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA archive FROM PUBLIC;
GRANT USAGE ON SCHEMA archive TO lcs_archiving, lcs_admin;
GRANT EXECUTE ON FUNCTION ensure_partitions, intern, intern_agent, add_participants, open_batch, log_messages, log_agent
    TO lcs_archiving;
GRANT SELECT ON archived_users, archived_conversations, archived_participants, archived_messages, completeness
    TO lcs_admin;
GRANT EXECUTE ON FUNCTION size_of TO lcs_admin;
