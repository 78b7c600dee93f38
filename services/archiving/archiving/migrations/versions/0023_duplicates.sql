-- An IM that is sent to two front ends is stored once and counted twice by the call detail records: under which other numbers
-- it came is kept, so that the two agree.

SET LOCAL search_path = archive;

CREATE TABLE duplicates (
    agent_id integer NOT NULL,
    seq bigint NOT NULL,
    id uuid NOT NULL,
    sent_at timestamptz NOT NULL,
    conversation_id bigint NOT NULL,
    PRIMARY KEY (agent_id, seq)
);
COMMENT ON TABLE duplicates IS 'numbers of IMs that are in messages under another number; one that comes again is none';
CREATE INDEX duplicates_id ON duplicates (id);

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
    IF inserted < expected THEN
        INSERT INTO duplicates (agent_id, seq, id, sent_at, conversation_id)
        SELECT b.agent_id, b.seq, b.id, b.sent_at, b.conversation_id
        FROM pg_temp.batch AS b JOIN messages AS m USING (id, sent_at)
        WHERE (m.agent_id, m.seq) <> (b.agent_id, b.seq)
        ON CONFLICT DO NOTHING;
    END IF;
    -- Last, because until the commit it makes other workers wait that store IMs of the same agent.
    PERFORM log_numbers(agent_ids, archived, parked);
END $$;
