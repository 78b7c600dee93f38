-- What a bulk change of users is staged in. The service itself may make no temporary tables: a session has these two, for
-- one transaction.
CREATE FUNCTION policy.open_bulk() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
BEGIN
    CREATE TEMPORARY TABLE bulk (
        line integer, address text COLLATE "C", archive_internal boolean, archive_federated boolean
    ) ON COMMIT DROP;
    EXECUTE format('GRANT INSERT, SELECT ON bulk TO %I', session_user);
END $$;

-- Users that differ from what was staged. What a line leaves out stays as it is; a user that is as wanted already keeps
-- its version.
CREATE FUNCTION policy.compare_bulk() RETURNS void
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

REVOKE ALL ON FUNCTION policy.open_bulk(), policy.compare_bulk() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION policy.open_bulk(), policy.compare_bulk() TO lcs_admin;
