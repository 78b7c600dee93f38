-- Federated partners are told that a conversation is archived, if an administrator wants it: off by default.

SET LOCAL search_path = policy;

CREATE TABLE disclaimer (
    name text PRIMARY KEY CHECK (name = 'disclaimer'),
    enabled boolean NOT NULL,
    language text NOT NULL,
    wordings jsonb NOT NULL,
    partners jsonb NOT NULL,
    version bigint NOT NULL
);
COMMENT ON COLUMN disclaimer.wordings IS 'language to text';
COMMENT ON COLUMN disclaimer.partners IS 'a partner''s domain to its language; others are told in column language';
INSERT INTO disclaimer VALUES ('disclaimer', false, 'en', '{}', '{}', 1);

-- Who was told. Nobody but the schema's owner can change what is written here.
CREATE TABLE disclaimers_sent (
    conversation text COLLATE "C",
    partner text COLLATE "C",
    im uuid NOT NULL,
    at timestamptz NOT NULL,
    front_end text NOT NULL,
    language text NOT NULL,
    wording text NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (conversation, partner)
);
COMMENT ON COLUMN disclaimers_sent.im IS 'the archived IM with which the notice was handed out';
COMMENT ON COLUMN disclaimers_sent.version IS 'the version of policy that worded it';
CREATE INDEX disclaimers_sent_partner ON disclaimers_sent (partner, at);

GRANT SELECT, UPDATE ON disclaimer TO lcs_admin;
GRANT SELECT, INSERT ON disclaimers_sent TO lcs_admin;
