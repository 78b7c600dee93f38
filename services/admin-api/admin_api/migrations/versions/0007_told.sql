-- A partner is told once the connector says that it delivered the notice; before that it was handed over. Each time that it
-- is handed over is a row of its own. The service's role may do that and confirm it by functions, and nothing else.

SET LOCAL search_path = policy;

ALTER TABLE disclaimers_sent
    ADD COLUMN connector text NOT NULL DEFAULT '',
    ADD COLUMN noted_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN told_at timestamptz,
    DROP CONSTRAINT disclaimers_sent_pkey,
    ADD PRIMARY KEY (conversation, partner, im);
COMMENT ON TABLE disclaimers_sent IS 'notices that were handed to connectors, to be delivered before an IM';
COMMENT ON COLUMN disclaimers_sent.at IS 'when it was handed over, by the front end''s clock';
COMMENT ON COLUMN disclaimers_sent.connector IS 'to whom; empty: by a front end of before this column';
COMMENT ON COLUMN disclaimers_sent.told_at IS 'when the connector said that it was delivered, by the front end''s clock; null: it has not';

-- Note what a front end would hand over with an IM: what nobody was told, nor is about to be, in this conversation. Returns
-- of all partners whether they are to be told with this IM, and whether they were told already.
CREATE FUNCTION claim_disclaimers(
    p_conversation text, p_im uuid, p_connector text, p_front_end text, p_at timestamptz, p_version bigint,
    p_partners text[], p_languages text[], p_wordings text[], p_confirm_within interval
) RETURNS TABLE (partner text, to_tell boolean, told boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
#variable_conflict use_column
BEGIN
    -- One at a time in a conversation: else two front ends would each find that nobody was told.
    PERFORM pg_advisory_xact_lock(hashtext('policy.claim_disclaimers'), hashtext(p_conversation));
    INSERT INTO disclaimers_sent (conversation, partner, im, connector, front_end, at, version, language, wording)
    SELECT p_conversation, n.partner, p_im, p_connector, p_front_end, p_at, p_version, n.language, n.wording
    FROM unnest(p_partners, p_languages, p_wordings) AS n (partner, language, wording)
    WHERE NOT EXISTS (
        SELECT FROM disclaimers_sent AS d
        WHERE d.conversation = p_conversation AND d.partner = n.partner
          AND (d.told_at IS NOT NULL OR d.noted_at > now() - p_confirm_within)
    )
    ORDER BY n.partner
    ON CONFLICT DO NOTHING;
    RETURN QUERY
    SELECT d.partner, bool_or(d.im = p_im), bool_or(d.told_at IS NOT NULL) FROM disclaimers_sent AS d
    WHERE d.conversation = p_conversation AND d.partner = ANY (p_partners) GROUP BY d.partner;
END $$;

-- Note that a connector delivered what it was handed with an IM. Returns how many notices that were, 0 if it was handed none.
CREATE FUNCTION confirm_disclaimers(p_im uuid, p_connector text, p_at timestamptz) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
    WITH confirmed AS (
        UPDATE disclaimers_sent SET told_at = coalesce(told_at, p_at)
        WHERE im = p_im AND connector = p_connector RETURNING 1
    ) SELECT count(*) FROM confirmed
$$;

REVOKE ALL ON FUNCTION claim_disclaimers, confirm_disclaimers FROM PUBLIC;
GRANT EXECUTE ON FUNCTION claim_disclaimers, confirm_disclaimers TO lcs_admin;
REVOKE INSERT ON disclaimers_sent FROM lcs_admin;
