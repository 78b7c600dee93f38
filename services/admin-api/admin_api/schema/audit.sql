-- The audit trail: whom a bulk change of users changed is found by hashes.

SET LOCAL search_path = policy;

-- Return eight bytes of each text.
-- What is found by them is compared in full.
CREATE OR REPLACE FUNCTION hashes_of(p_texts text[]) RETURNS bigint[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (SELECT array_agg(hashtextextended(each, 0)) FROM unnest(p_texts) AS t (each));
REVOKE ALL ON FUNCTION hashes_of FROM PUBLIC;
GRANT EXECUTE ON FUNCTION hashes_of TO lcs_admin;
