-- A bulk change of users is one record of the audit trail; whom it changed stands in parts beside it, compressed, and each
-- of them is found by an index. Records are listed by their time, and each filter has an index in that order.

SET LOCAL search_path = policy;

ALTER TABLE audit
    ADD COLUMN request uuid,
    ADD COLUMN weakened boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN audit.request IS 'X-Request-ID of the answer, also in the logs; null: no request did it, or it is older than these';
COMMENT ON COLUMN audit.weakened IS 'less is archived, kept or told than before the change';
COMMENT ON COLUMN audit.detail IS 'of a read: what was asked, which IMs were given, or why none; of a bulk change: its counts';
GRANT INSERT (request, weakened) ON audit TO lcs_admin;

CREATE TABLE audit_users (
    audit_id bigint NOT NULL REFERENCES audit (id),
    part integer NOT NULL,
    addresses text[] COLLATE "C" NOT NULL,
    before smallint[] NOT NULL,
    after smallint[] NOT NULL,
    PRIMARY KEY (audit_id, part),
    CHECK (cardinality(addresses) = cardinality(before) AND cardinality(addresses) = cardinality(after))
);
COMMENT ON TABLE audit_users IS 'whom a bulk change of policy changed, by address, a thousand a part';
COMMENT ON COLUMN audit_users.before IS 'flags of each: 1 internal, 2 federated; null: there were none';

-- Eight bytes of each address: what is found by them is compared in full.
CREATE FUNCTION hashes_of(p_texts text[]) RETURNS bigint[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (SELECT array_agg(hashtextextended(each, 0)) FROM unnest(p_texts) AS t (each));
REVOKE ALL ON FUNCTION hashes_of FROM PUBLIC;
GRANT EXECUTE ON FUNCTION hashes_of TO lcs_admin;
CREATE INDEX audit_users_addresses ON audit_users USING gin (hashes_of(addresses)) WITH (fastupdate = off);
GRANT SELECT, INSERT ON audit_users TO lcs_admin;

DROP INDEX audit_actor, audit_action, audit_target, audit_policy;
CREATE INDEX audit_at ON audit (at, id);
CREATE INDEX audit_actor ON audit (actor, at, id);
CREATE INDEX audit_action ON audit (action, at, id);
CREATE INDEX audit_target ON audit (digest_of(target), at, id);
CREATE INDEX audit_version ON audit (version, at, id) WHERE version IS NOT NULL;
CREATE INDEX audit_policy ON audit (at, id) WHERE action LIKE 'policy.%';
