-- Notices to federated partners: handed over, confirmed, taken back (docs/decisions/0014).

SET LOCAL search_path = policy;

-- Return what an index holds in place of a text of any length.
CREATE OR REPLACE FUNCTION digest_of(p_text text) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN sha256(convert_to(p_text, 'UTF8'));
REVOKE ALL ON FUNCTION digest_of FROM PUBLIC;
GRANT EXECUTE ON FUNCTION digest_of TO lcs_admin;

COMMENT ON FUNCTION digest_of IS 'what an index holds in place of a text of any length';

-- Note what a front end would hand over with an IM (or has, while this could not be asked: p_handed_over);
-- return of all partners whether they are to be told with this IM, and whether they were told already.
-- A partner is told who never was; who was handed to a connector ten seconds ago or longer, twice as long
-- after each further IM, p_confirm_within at most; and with an IM that comes again: by its id, or under
-- another as from callers that lost the answer and bring no ids (the tenth time it is taken for another).
CREATE OR REPLACE FUNCTION claim_disclaimers(
    p_conversation text, p_im uuid, p_connector text, p_front_end text, p_at timestamptz, p_version bigint,
    p_partners text[], p_languages text[], p_wordings text[], p_confirm_within interval,
    p_digest bytea DEFAULT NULL, p_handed_over boolean DEFAULT false
) RETURNS TABLE (partner text, to_tell boolean, told boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
#variable_conflict use_column
BEGIN
    -- One at a time in a conversation: else two front ends would each find that nobody was told.
    PERFORM pg_advisory_xact_lock(hashtext('policy.claim_disclaimers'), hashtext(p_conversation));
    INSERT INTO disclaimers_sent
        (conversation, partner, im, connector, front_end, at, version, language, wording, digest)
    SELECT p_conversation, n.partner, p_im, p_connector, p_front_end, p_at, p_version, n.language, n.wording, p_digest
    FROM unnest(p_partners, p_languages, p_wordings) AS n (partner, language, wording)
    CROSS JOIN LATERAL (
        SELECT coalesce(bool_or(d.told_at IS NOT NULL), false) AS told, max(d.noted_at) AS last,
               count(DISTINCT coalesce(d.digest, uuid_send(d.im))) AS ims,
               count(*) FILTER (WHERE d.digest = p_digest AND d.connector = p_connector) AS same
        FROM disclaimers_sent AS d
        WHERE digest_of(d.conversation) = digest_of(p_conversation) AND digest_of(d.partner) = digest_of(n.partner)
    ) AS known
    WHERE p_handed_over OR NOT known.told AND (
        known.ims = 0 OR known.same BETWEEN 1 AND 9
        OR known.last <= now() - least(p_confirm_within, interval '10 seconds' * 2 ^ least(known.ims - 1, 20))
    )
    ORDER BY n.partner
    ON CONFLICT DO NOTHING;
    RETURN QUERY
    SELECT d.partner,
           bool_or(d.im = p_im AND d.connector = p_connector) AND NOT bool_or(d.told_at IS NOT NULL),
           bool_or(d.told_at IS NOT NULL)
    FROM unnest(p_partners) AS n (partner)
    JOIN disclaimers_sent AS d
        ON digest_of(d.conversation) = digest_of(p_conversation) AND digest_of(d.partner) = digest_of(n.partner)
    GROUP BY d.partner;
END $$;
REVOKE ALL ON FUNCTION claim_disclaimers FROM PUBLIC;
GRANT EXECUTE ON FUNCTION claim_disclaimers TO lcs_admin;

-- Note that a connector delivered what it was handed with an IM; return how many notices those were, 0 if it
-- was handed none.
CREATE OR REPLACE FUNCTION confirm_disclaimers(p_im uuid, p_connector text, p_at timestamptz) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
    WITH confirmed AS (
        UPDATE disclaimers_sent SET told_at = coalesce(told_at, p_at), digest = NULL
        WHERE im = p_im AND connector = p_connector RETURNING 1
    ) SELECT count(*) FROM confirmed
$$;
REVOKE ALL ON FUNCTION confirm_disclaimers FROM PUBLIC;
GRANT EXECUTE ON FUNCTION confirm_disclaimers TO lcs_admin;

-- Move what a connector was handed with an IM, and has not said to be delivered, to the audit trail.
-- Of front ends that don't say which connector (null): what any was handed.
CREATE OR REPLACE FUNCTION retract_disclaimers(p_im uuid, p_actor text, p_role text, p_connector text DEFAULT NULL) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
    WITH retracted AS (
        DELETE FROM disclaimers_sent AS d
        WHERE d.im = p_im AND d.connector = coalesce(p_connector, d.connector) AND d.told_at IS NULL
        RETURNING d.partner, to_jsonb(d) - 'id' - 'digest' AS record
    )
    INSERT INTO audit (actor, role, action, target, before)
    SELECT p_actor, p_role, 'disclaimer.retract', r.partner, r.record FROM retracted AS r
$$;
REVOKE ALL ON FUNCTION retract_disclaimers FROM PUBLIC;
GRANT EXECUTE ON FUNCTION retract_disclaimers TO lcs_admin;
