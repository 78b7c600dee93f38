-- The incarnation of the archive: numbers of names are good in the one that gave them, and another begins
-- with each restore (docs/decisions/0025).

SET LOCAL search_path = archive;

-- Return what differs after a restore, as one digest.
-- The cluster's identifier differs in another cluster, the timeline after a recovery to a point in time, the
-- database's number and the tables' numbers after a dump, and the writer of the row after rows alone were
-- replaced. It is asked with each batch: without a search_path to set it takes half of the time.
CREATE OR REPLACE FUNCTION evidence() RETURNS uuid LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT md5(concat_ws(' ',
        (SELECT system_identifier FROM pg_control_system()), left(pg_walfile_name(pg_current_wal_insert_lsn()), 8),
        (SELECT oid FROM pg_database WHERE datname = current_database()),
        to_regclass('archive.users')::oid, to_regclass('archive.conversations')::oid,
        to_regclass('archive.content_types')::oid, to_regclass('archive.rules')::oid, to_regclass('archive.agents')::oid,
        to_regclass('archive.messages')::oid, i.xmin, extract(epoch FROM i.since)))::uuid FROM archive.incarnation AS i);
END $$;
REVOKE ALL ON FUNCTION evidence FROM PUBLIC;

-- Return the incarnation that the archive has now.
CREATE OR REPLACE FUNCTION incarnation() RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = archive, pg_temp AS $$ SELECT evidence() $$;
REVOKE ALL ON FUNCTION incarnation FROM PUBLIC;
GRANT EXECUTE ON FUNCTION incarnation TO lcs_archiving, lcs_admin;

-- Raise object_not_in_prerequisite_state unless the archive is of that incarnation; keep it so until the
-- transaction ends.
-- It is no data error: nothing is wrong with what was to be stored.
CREATE OR REPLACE FUNCTION hold_incarnation(expected uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
BEGIN
    LOCK TABLE incarnation, users, conversations, content_types, rules, agents IN ROW SHARE MODE;
    IF evidence() IS DISTINCT FROM expected THEN
        RAISE EXCEPTION 'the archive is not the one that gave these numbers: was it restored?'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
END $$;
REVOKE ALL ON FUNCTION hold_incarnation FROM PUBLIC;
GRANT EXECUTE ON FUNCTION hold_incarnation TO lcs_archiving;

-- Begin another incarnation, for a statement that takes names away or gives them other numbers.
-- Batches under way are committed first; later ones wait.
CREATE OR REPLACE FUNCTION renew_incarnation() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
BEGIN
    LOCK TABLE incarnation IN EXCLUSIVE MODE;
    UPDATE incarnation SET since = clock_timestamp();
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION renew_incarnation FROM PUBLIC;

-- Call renew_incarnation() before such a statement, also one that replication applies. To make a trigger locks its table
-- against workers, so those that are there stay: a migration that changes them drops them.
DO $$
DECLARE
    numbered text;
BEGIN
    FOREACH numbered IN ARRAY ARRAY['users', 'conversations', 'content_types', 'rules', 'agents'] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_trigger
                              WHERE tgrelid = to_regclass(numbered) AND tgname = 'renew_incarnation');
        EXECUTE format('CREATE TRIGGER renew_incarnation BEFORE DELETE OR TRUNCATE OR UPDATE OF id, %I ON %I'
                       ' FOR EACH STATEMENT EXECUTE FUNCTION renew_incarnation()',
                       CASE numbered WHEN 'agents' THEN 'agent' ELSE 'name' END, numbered);
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER renew_incarnation', numbered);
    END LOOP;
END $$;
