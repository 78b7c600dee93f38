-- A version's number comes again after a restore; number and stamp together don't. Whatever takes a version (an older admin
-- API, a migration, a hand) gets it stamped and into the history: that is the database's own doing.

SET LOCAL search_path = policy;

CREATE TABLE versions (
    version bigint PRIMARY KEY,
    stamp uuid NOT NULL DEFAULT gen_random_uuid()
);
COMMENT ON TABLE versions IS 'every version of policy that this database has been through';
INSERT INTO versions (version) SELECT generate_series(1, version) FROM version;

ALTER TABLE version ADD COLUMN stamp uuid;
UPDATE version AS v SET stamp = h.stamp FROM versions AS h WHERE h.version = v.version;
ALTER TABLE version ALTER COLUMN stamp SET NOT NULL;

CREATE FUNCTION stamp_version() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
BEGIN
    NEW.stamp := gen_random_uuid();
    -- A number that was set back by hand begins another history from there.
    DELETE FROM versions WHERE version >= NEW.version;
    INSERT INTO versions (version, stamp) VALUES (NEW.version, NEW.stamp);
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION stamp_version FROM PUBLIC;
CREATE TRIGGER stamp_version BEFORE UPDATE OF version ON version
    FOR EACH ROW EXECUTE FUNCTION stamp_version();

ALTER TABLE front_ends
    ADD COLUMN stamp uuid,
    ADD COLUMN highest bigint NOT NULL DEFAULT 0,
    ADD COLUMN differs boolean NOT NULL DEFAULT false,
    ADD COLUMN differed_at timestamptz;
COMMENT ON COLUMN front_ends.stamp IS 'of its version; null: it is older than stamps, or has no policy';
COMMENT ON COLUMN front_ends.highest IS 'the highest version that it ever ran: no number is used again after a restore';
COMMENT ON COLUMN front_ends.differs IS 'its version is ours, and what it holds was not when last compared';

GRANT SELECT ON versions TO lcs_admin;
