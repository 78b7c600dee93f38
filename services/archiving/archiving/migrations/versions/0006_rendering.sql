-- Beside the bytes of what is not plain text stands its text, for search. It is made anew by each version of the
-- worker, so it does not count where contents are compared: their bytes do.

SET LOCAL search_path = archive;

ALTER TABLE messages DROP CONSTRAINT messages_check;
-- Not valid: what is there fulfils it, and need not be read for that.
ALTER TABLE messages ADD CONSTRAINT messages_said CHECK (num_nonnulls(body, content) > 0) NOT VALID;
COMMENT ON COLUMN messages.body IS 'an IM sent as text, unaltered; if there is content: a text made of it, for search';
COMMENT ON COLUMN messages.content IS 'an IM sent as anything but plain text, byte for byte';

CREATE FUNCTION said(body text, content bytea) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT coalesce(content, convert_to(body, 'UTF8')) $$;
REVOKE ALL ON FUNCTION said FROM PUBLIC;

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
        WHERE (b.conversation_id, b.sender_id, b.recipient_ids, b.content_type_id, said(b.body, b.content))
              IS DISTINCT FROM
              (m.conversation_id, m.sender_id, m.recipient_ids, m.content_type_id, said(m.body, m.content));
    END IF;
    -- Last, because until the commit it makes other workers wait that store IMs of the same agent.
    PERFORM log_numbers(agent_ids, archived, parked);
END $$;
