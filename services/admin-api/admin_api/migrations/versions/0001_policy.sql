-- Who is archived. Every change of policy takes the next version, and each row says which version changed it
-- last: so front ends can ask for what changed after the version they have.

SET LOCAL search_path = policy;

-- One row. Whoever changes policy locks it first, so changes follow one another and versions commit in order.
CREATE TABLE version (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    version bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO version (version) VALUES (1);

CREATE TABLE global_settings (
    scope text PRIMARY KEY CHECK (scope IN ('internal', 'federated')),
    archive text NOT NULL CHECK (archive IN ('none', 'everyone', 'per_user')),
    version bigint NOT NULL
);
-- A fresh archive archives everything: the safe side.
INSERT INTO global_settings (scope, archive, version) VALUES ('internal', 'everyone', 1), ('federated', 'everyone', 1);

CREATE TABLE domains (
    domain text COLLATE "C" PRIMARY KEY,
    version bigint NOT NULL
);
COMMENT ON TABLE domains IS 'our own SIP domains, lower case';

CREATE TABLE pools (
    name text COLLATE "C" PRIMARY KEY,
    archive boolean NOT NULL,
    critical boolean NOT NULL,
    archive_all_group boolean NOT NULL,
    version bigint NOT NULL
);

-- Collated by bytes: addresses are paged in this order, the same on every machine.
CREATE TABLE users (
    address text COLLATE "C" PRIMARY KEY,
    archive_internal boolean NOT NULL,
    archive_federated boolean NOT NULL,
    deleted boolean NOT NULL DEFAULT false,
    version bigint NOT NULL,
    CHECK (NOT (deleted AND (archive_internal OR archive_federated)))
);
COMMENT ON COLUMN users.address IS 'canonical address, sip:user@domain';
COMMENT ON COLUMN users.deleted IS 'kept so that front ends learn that the flags are gone';
CREATE INDEX users_version ON users (version);

-- Who changed policy, and who read the archive. Nobody but the schema's owner can change what is written
-- here, and the database itself sets number and time.
CREATE TABLE audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL,
    role text NOT NULL,
    action text NOT NULL,
    target text NOT NULL,
    before jsonb,
    after jsonb,
    version bigint,
    detail jsonb
);
COMMENT ON COLUMN audit.version IS 'the version of policy that a change made';
COMMENT ON COLUMN audit.detail IS 'of a read: what was asked and which IMs were given; of a bulk change: its counts';

-- What each front end said last.
CREATE TABLE front_ends (
    name text COLLATE "C" PRIMARY KEY,
    pool text NOT NULL,
    agent uuid NOT NULL,
    version bigint NOT NULL,
    state text NOT NULL,
    since timestamptz,
    last_seen timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

COMMENT ON COLUMN front_ends.since IS 'since when it has been in this state';

-- Rights: the roles are made with the database (deploy/postgres/roles.sql).
GRANT USAGE ON SCHEMA policy TO lcs_admin;
GRANT SELECT, UPDATE ON version, global_settings TO lcs_admin;
GRANT SELECT, INSERT, UPDATE, DELETE ON domains, pools, front_ends TO lcs_admin;
GRANT SELECT, INSERT, UPDATE ON users TO lcs_admin;
GRANT SELECT, INSERT (actor, role, action, target, before, after, version, detail) ON audit TO lcs_admin;
