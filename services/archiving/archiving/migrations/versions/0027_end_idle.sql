-- Two workers that end idle sessions wait for nobody: each of them, and one that stores, takes rows in an order of its own.

SET LOCAL search_path = cdr;

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
