ALTER TABLE policy.audit ADD COLUMN client text;
COMMENT ON COLUMN policy.audit.client IS 'the address that the request came from; null: no request did it, or it is older than this';
GRANT INSERT (client) ON policy.audit TO lcs_admin;
