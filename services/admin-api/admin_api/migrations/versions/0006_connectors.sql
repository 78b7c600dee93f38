-- Whom each connector may speak for. One that is not here is as its front ends' own file of connectors says.

SET LOCAL search_path = policy;

CREATE TABLE connectors (
    name text COLLATE "C" PRIMARY KEY,
    domains text[] NOT NULL,
    gateway_for text[] NOT NULL,
    version bigint NOT NULL
);
COMMENT ON COLUMN connectors.domains IS 'of our own SIP domains, those whose people it has';
COMMENT ON COLUMN connectors.gateway_for IS 'foreign domains whose people''s IMs come by it, for it verifies them; * means all';

GRANT SELECT, INSERT, UPDATE, DELETE ON connectors TO lcs_admin;
