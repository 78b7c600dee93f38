-- One person is one address (docs/decisions/0018). A name that older front ends gave to somebody stays, and says whose
-- it is: so IMs keep their numbers of people and conversations, and the spelling as it came; those that come again are
-- the same; and nothing of messages is written anew.

SET LOCAL search_path = archive;

ALTER TABLE users ADD COLUMN same_as integer;
ALTER TABLE conversations ADD COLUMN same_as bigint;
COMMENT ON COLUMN users.same_as IS 'the person whose canonical address this name spells in another way; null: it is canonical itself';
COMMENT ON COLUMN conversations.same_as IS 'the conversation whose key is made of the same people''s canonical addresses';
CREATE INDEX users_spellings ON users (same_as) WHERE same_as IS NOT NULL;
CREATE INDEX conversations_spellings ON conversations (same_as) WHERE same_as IS NOT NULL;

-- Note that names are spellings of canonical ones. Either is made if it is new; what is noted once stays.
CREATE FUNCTION note_spellings(kind text, spelled text[], canonical text[]) RETURNS void
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

CREATE OR REPLACE VIEW archived_users AS SELECT id, name AS address, same_as FROM users;
CREATE OR REPLACE VIEW archived_conversations AS SELECT id, name AS conversation, same_as FROM conversations;
CREATE OR REPLACE VIEW archived_messages AS
SELECT m.id, m.sent_at, m.stored_at, m.conversation_id, m.sender_id, m.recipient_ids,
       CASE WHEN s.same_as IS NULL THEN s.name ELSE (SELECT p.name FROM users AS p WHERE p.id = s.same_as) END AS sender,
       ARRAY(SELECT coalesce(p.name, u.name) FROM unnest(m.recipient_ids) WITH ORDINALITY AS r (id, place)
             JOIN users AS u USING (id) LEFT JOIN users AS p ON p.id = u.same_as ORDER BY r.place) AS recipients,
       CASE WHEN c.same_as IS NULL THEN c.name
            ELSE (SELECT d.name FROM conversations AS d WHERE d.id = c.same_as) END AS conversation,
       CASE WHEN m.federated THEN 'federated' ELSE 'internal' END AS scope,
       t.name AS content_type, m.body, m.content,
       p.name AS pool, a.agent, m.seq, m.policy_version, r.name AS rule,
       m.received_at, m.content_encoding, m.encryption,
       CASE WHEN m.spelled IS NOT NULL THEN m.spelled
            WHEN s.same_as IS NOT NULL
                 OR EXISTS (SELECT FROM users AS u WHERE u.id = ANY (m.recipient_ids) AND u.same_as IS NOT NULL)
            THEN s.name || ARRAY(SELECT u.name FROM unnest(m.recipient_ids) WITH ORDINALITY AS r (id, place)
                                 JOIN users AS u USING (id) ORDER BY r.place) END AS spelled
FROM messages AS m
LEFT JOIN users AS s ON s.id = m.sender_id
LEFT JOIN conversations AS c ON c.id = m.conversation_id
LEFT JOIN content_types AS t ON t.id = m.content_type_id
LEFT JOIN agents AS a ON a.id = m.agent_id
LEFT JOIN pools AS p ON p.id = a.pool_id
LEFT JOIN rules AS r ON r.id = m.rule_id;

REVOKE ALL ON FUNCTION note_spellings FROM PUBLIC;
GRANT EXECUTE ON FUNCTION note_spellings TO lcs_archiving;
