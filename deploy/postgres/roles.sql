-- The roles of the database lcslog, each with the least it needs; safe to run again. The schemas' migrations
-- grant the rest. A template (Python string.Template): deploy/credentials.py fills in the passwords.

DO $$$$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['lcs_owner', 'lcs_archiving', 'lcs_admin'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', role);
        END IF;
    END LOOP;
END $$$$;
ALTER ROLE lcs_owner PASSWORD '$lcs_owner';
ALTER ROLE lcs_archiving PASSWORD '$lcs_archiving';
ALTER ROLE lcs_admin PASSWORD '$lcs_admin';
