-- A notice that could not be delivered was never given: its record moves to the audit trail, in one step, and the partner
-- is told with the next IM. The service's role may do that, and take no record away otherwise.

SET LOCAL search_path = policy;

CREATE INDEX disclaimers_sent_im ON disclaimers_sent (im);

CREATE FUNCTION retract_disclaimers(p_im uuid, p_actor text, p_role text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = policy, pg_temp
AS $$
    WITH retracted AS (DELETE FROM disclaimers_sent WHERE im = p_im RETURNING *)
    INSERT INTO audit (actor, role, action, target, before)
    SELECT p_actor, p_role, 'disclaimer.retract', partner, to_jsonb(retracted) - 'id' FROM retracted
$$;
REVOKE ALL ON FUNCTION retract_disclaimers FROM PUBLIC;
GRANT EXECUTE ON FUNCTION retract_disclaimers TO lcs_admin;
