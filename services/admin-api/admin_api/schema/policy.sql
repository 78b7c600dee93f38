-- Changes of policy: the stamp of each version, and bulk changes of users.

SET LOCAL search_path = policy;

-- Give a new version of policy its stamp, and note it in the history.
-- A version's number comes again after a restore; number and stamp together don't (docs/decisions/0028).
-- Whatever takes a version (an older admin API, a migration, a hand) gets it stamped.
CREATE OR REPLACE FUNCTION stamp_version() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
BEGIN
    NEW.stamp := gen_random_uuid();
    -- A number that was set back by hand begins another history from there.
    DELETE FROM versions WHERE version >= NEW.version;
    INSERT INTO versions (version, stamp) VALUES (NEW.version, NEW.stamp);
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION stamp_version FROM PUBLIC;

-- To make a trigger locks its table, so one that is there stays: a migration that changes it drops it.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'version'::regclass AND tgname = 'stamp_version') THEN
        CREATE TRIGGER stamp_version BEFORE UPDATE OF version ON version
            FOR EACH ROW EXECUTE FUNCTION stamp_version();
    END IF;
END $$;

-- Make the session's temporary table in which a bulk change of users is staged, for one transaction.
-- The service itself may make no temporary tables.
CREATE OR REPLACE FUNCTION open_bulk() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
BEGIN
    CREATE TEMPORARY TABLE bulk (
        line integer, address text COLLATE "C", archive_internal boolean, archive_federated boolean
    ) ON COMMIT DROP;
    EXECUTE format('GRANT INSERT, SELECT ON bulk TO %I', session_user);
END $$;
REVOKE ALL ON FUNCTION open_bulk FROM PUBLIC;
GRANT EXECUTE ON FUNCTION open_bulk TO lcs_admin;

-- Make the temporary table of users that differ from what was staged.
-- What a line leaves out stays as it is; a user that is as wanted already keeps its version.
CREATE OR REPLACE FUNCTION compare_bulk() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
BEGIN
    ANALYZE pg_temp.bulk;
    CREATE TEMPORARY TABLE changed ON COMMIT DROP AS
    SELECT DISTINCT ON (b.address)
           b.address, u.address IS NULL AS is_new,
           CASE WHEN NOT u.deleted THEN jsonb_build_object(
               'archive_internal', u.archive_internal, 'archive_federated', u.archive_federated
           ) END AS before,
           coalesce(b.archive_internal, u.archive_internal, false) AS archive_internal,
           coalesce(b.archive_federated, u.archive_federated, false) AS archive_federated
    FROM pg_temp.bulk AS b LEFT JOIN users AS u ON u.address = b.address
    WHERE u.address IS NULL OR u.deleted
       OR b.archive_internal <> u.archive_internal OR b.archive_federated <> u.archive_federated
    ORDER BY b.address;
    EXECUTE format('GRANT SELECT ON changed TO %I', session_user);
END $$;
REVOKE ALL ON FUNCTION compare_bulk FROM PUBLIC;
GRANT EXECUTE ON FUNCTION compare_bulk TO lcs_admin;
