-- Numbers of names: users, conversations, content types, rules, pools, agents.

SET LOCAL search_path = archive;

-- Return the numbers of some names of a kind; new names get one.
-- Names are inserted in their order, so that two workers never wait for each other in a circle, and only if
-- they are missing, for a conflict uses up a number. Some thousand names among millions: each is looked up in
-- the index, whatever the statistics say of a table that grows.
CREATE OR REPLACE FUNCTION intern(kind text, names text[]) RETURNS TABLE (name text, id bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
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
REVOKE ALL ON FUNCTION intern FROM PUBLIC;
GRANT EXECUTE ON FUNCTION intern TO lcs_archiving;

-- Return the number of an agent; a new agent gets one. Raise data_exception for an agent of another pool.
CREATE OR REPLACE FUNCTION intern_agent(agent uuid, pool text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
DECLARE
    result integer;
    known text;
BEGIN
    LOOP
        SELECT a.id, p.name INTO result, known FROM agents AS a JOIN pools AS p ON p.id = a.pool_id
        WHERE a.agent = intern_agent.agent;
        EXIT WHEN FOUND;
        INSERT INTO agents (agent, pool_id) SELECT intern_agent.agent, p.id FROM intern('pools', ARRAY[pool]) AS p
        ON CONFLICT DO NOTHING;
    END LOOP;
    IF known <> pool THEN
        RAISE EXCEPTION 'agent % is of pool %, not of %', agent, known, pool USING ERRCODE = 'data_exception';
    END IF;
    RETURN result;
END $$;
REVOKE ALL ON FUNCTION intern_agent FROM PUBLIC;
GRANT EXECUTE ON FUNCTION intern_agent TO lcs_archiving;

-- Note that users take part in conversations. The two arrays have one place for each pair.
CREATE OR REPLACE FUNCTION add_participants(conversation_ids bigint[], user_ids integer[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    INSERT INTO participants (conversation_id, user_id)
    SELECT c, u FROM unnest(conversation_ids, user_ids) AS new (c, u) ORDER BY u, c
    ON CONFLICT DO NOTHING
$$;
REVOKE ALL ON FUNCTION add_participants FROM PUBLIC;
GRANT EXECUTE ON FUNCTION add_participants TO lcs_archiving;

-- Note that names are spellings of canonical ones (docs/decisions/0018).
-- Either is made if it is new; what is noted once stays.
CREATE OR REPLACE FUNCTION note_spellings(kind text, spelled text[], canonical text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
BEGIN
    IF kind NOT IN ('users', 'conversations') THEN
        RAISE EXCEPTION 'no such kind: %', kind;
    END IF;
    PERFORM intern(kind, canonical || spelled);
    EXECUTE format('UPDATE %1$I AS s SET same_as = c.id FROM unnest($1, $2) AS new (spelled, canonical)'
                   ' JOIN %1$I AS c ON c.name = new.canonical'
                   ' WHERE s.name = new.spelled AND s.same_as IS NULL AND c.same_as IS NULL AND s.id <> c.id', kind)
        USING spelled, canonical;
END $$;
REVOKE ALL ON FUNCTION note_spellings FROM PUBLIC;
GRANT EXECUTE ON FUNCTION note_spellings TO lcs_archiving;

-- Show each user's number and address, and whose spelling it is.
CREATE OR REPLACE VIEW archived_users AS SELECT id, name AS address, same_as FROM users;
GRANT SELECT ON archived_users TO lcs_admin;

-- Show each conversation's number and key, and whose spelling it is.
CREATE OR REPLACE VIEW archived_conversations AS SELECT id, name AS conversation, same_as FROM conversations;
GRANT SELECT ON archived_conversations TO lcs_admin;

-- Show who takes part in which conversation, by numbers.
CREATE OR REPLACE VIEW archived_participants AS SELECT user_id, conversation_id FROM participants;
GRANT SELECT ON archived_participants TO lcs_admin;
