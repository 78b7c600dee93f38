-- When an IM was taken in, how its content is compressed or encrypted, how its people were spelled. And a column has one
-- name everywhere: what a worker's rows hold is compared by names, so a new column needs no new version of all functions.

SET LOCAL search_path = archive;

ALTER TABLE messages
    ADD COLUMN received_at timestamptz,
    ADD COLUMN content_encoding text,
    ADD COLUMN encryption text,
    ADD COLUMN spelled text[];
COMMENT ON COLUMN messages.received_at IS 'when the front end took it in; null from front ends of before this column';
COMMENT ON COLUMN messages.content_encoding IS 'how content is compressed (HTTP''s and SIP''s Content-Encoding); null: it is not';
COMMENT ON COLUMN messages.encryption IS 'with what its sender encrypted or signed it, as far as can be seen: omemo, s/mime, …';
COMMENT ON COLUMN messages.spelled IS 'sender and recipients as they came, where one is spelled in another way than its canonical form';
GRANT INSERT (received_at, content_encoding, encryption, spelled) ON messages TO lcs_archiving;

-- Once a session: the temporary table that log_messages() reads, with all columns of messages but stored_at, which the
-- database itself sets. The columns are those of the rows that the worker packs; the others are null. A worker that
-- knows a column more than the archive waits: its rows would be data errors, which are parked.
DROP FUNCTION open_batch(integer);
CREATE FUNCTION open_batch(columns text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
DECLARE
    unknown text;
BEGIN
    SELECT string_agg(name, ', ') INTO unknown FROM unnest(columns) AS name
    WHERE NOT EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = 'messages'::regclass AND a.attnum > 0
                      AND a.attname = name AND NOT a.attisdropped);
    IF unknown IS NOT NULL THEN
        RAISE EXCEPTION 'messages has no column %: migrate the archive first', unknown;
    END IF;
    CREATE TEMPORARY TABLE batch (LIKE messages INCLUDING DEFAULTS) ON COMMIT DELETE ROWS;
    ALTER TABLE batch DROP COLUMN stored_at;
    EXECUTE format('GRANT INSERT ON batch TO %I', session_user);
END $$;

CREATE OR REPLACE FUNCTION log_messages(
    expected integer, agent_ids integer[], archived int8multirange[], parked int8multirange[],
    OUT inserted integer, OUT conflicting_agent_ids integer[], OUT conflicting_seqs bigint[]
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
DECLARE
    columns text := (SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
                     WHERE attrelid = 'pg_temp.batch'::regclass AND attnum > 0 AND NOT attisdropped);
BEGIN
    EXECUTE format('INSERT INTO messages (%1$s) SELECT %1$s FROM pg_temp.batch ON CONFLICT DO NOTHING', columns);
    GET DIAGNOSTICS inserted = ROW_COUNT;
    IF inserted < expected THEN
        SELECT array_agg(b.agent_id), array_agg(b.seq) INTO conflicting_agent_ids, conflicting_seqs
        FROM pg_temp.batch AS b JOIN messages AS m USING (id, sent_at)
        WHERE (b.conversation_id, b.sender_id, b.recipient_ids, b.content_type_id, b.content_encoding,
               said(b.body, b.content))
              IS DISTINCT FROM
              (m.conversation_id, m.sender_id, m.recipient_ids, m.content_type_id, m.content_encoding,
               said(m.body, m.content));
    END IF;
    -- Last, because until the commit it makes other workers wait that store IMs of the same agent.
    PERFORM log_numbers(agent_ids, archived, parked);
END $$;

CREATE OR REPLACE VIEW archived_messages AS
SELECT m.id, m.sent_at, m.stored_at, m.conversation_id, m.sender_id, m.recipient_ids,
       s.name AS sender,
       ARRAY(SELECT u.name FROM unnest(m.recipient_ids) WITH ORDINALITY AS r (id, place) JOIN users AS u USING (id)
             ORDER BY r.place) AS recipients,
       c.name AS conversation,
       CASE WHEN m.federated THEN 'federated' ELSE 'internal' END AS scope,
       t.name AS content_type, m.body, m.content,
       p.name AS pool, a.agent, m.seq, m.policy_version, r.name AS rule,
       m.received_at, m.content_encoding, m.encryption, m.spelled
FROM messages AS m
LEFT JOIN users AS s ON s.id = m.sender_id
LEFT JOIN conversations AS c ON c.id = m.conversation_id
LEFT JOIN content_types AS t ON t.id = m.content_type_id
LEFT JOIN agents AS a ON a.id = m.agent_id
LEFT JOIN pools AS p ON p.id = a.pool_id
LEFT JOIN rules AS r ON r.id = m.rule_id;

REVOKE ALL ON FUNCTION open_batch FROM PUBLIC;
GRANT EXECUTE ON FUNCTION open_batch TO lcs_archiving;
