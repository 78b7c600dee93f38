-- IMs that are all new go straight into messages, by COPY, in half of the time that log_messages() takes
-- (docs/decisions/0011). It is for batches of which the archive knows some already.

SET LOCAL search_path = archive;

-- Note the agents' numbers that are now archived or parked.
CREATE FUNCTION log_numbers(agent_ids integer[], archived int8multirange[], parked int8multirange[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
BEGIN
    PERFORM FROM agents AS a WHERE a.id = ANY (agent_ids) ORDER BY a.id FOR UPDATE;
    UPDATE agents AS a
    SET archived = a.archived + new.archived,
        parked = (a.parked + new.parked) - (a.archived + new.archived),
        last_seen = now()
    FROM unnest(agent_ids, log_numbers.archived, log_numbers.parked) AS new (id, archived, parked)
    WHERE a.id = new.id;
END $$;

CREATE OR REPLACE FUNCTION log_messages(
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
    PERFORM log_numbers(agent_ids, archived, parked);
END $$;

-- Rights: what log_messages() lets the worker add it may add by COPY; when it was stored is the database's word.
REVOKE ALL ON FUNCTION log_numbers FROM PUBLIC;
GRANT EXECUTE ON FUNCTION log_numbers TO lcs_archiving;
GRANT INSERT (id, sent_at, conversation_id, sender_id, recipient_ids, federated, content_type_id, body, content,
              agent_id, seq, policy_version, rule_id) ON messages TO lcs_archiving;

-- As with messages: only functions write here, with numbers that intern() gave, and the checks cost more than the rows.
ALTER TABLE participants DROP CONSTRAINT participants_user_id_fkey, DROP CONSTRAINT participants_conversation_id_fkey;

-- Some thousand names among millions: each is looked up in the index, whatever the statistics say of a table that grows.
ALTER FUNCTION intern(text, text[]) SET enable_seqscan = off;
ALTER FUNCTION intern(text, text[]) SET enable_hashjoin = off;
ALTER FUNCTION intern(text, text[]) SET enable_mergejoin = off;
