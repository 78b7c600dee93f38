-- An agent is of one pool: nobody of another pool may add to its numbers, nor have IMs of his own shown as that pool's.

SET LOCAL search_path = archive;

-- The number of an agent, made if it is new. One that is known as another pool's is a data error.
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
