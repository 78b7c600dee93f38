-- The order in which IMs were committed, for whoever follows the archive (docs/decisions/0027).
-- The default of messages.xact calls era_base(): begin_era() makes it anew with each era, so it is data and
-- is made by migration 0020, not here.

SET LOCAL search_path = archive;

-- Begin an era if the archive is another than before. Workers do before they store anything.
CREATE OR REPLACE FUNCTION begin_era() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
DECLARE
    newest record;
    base bigint;
BEGIN
    SELECT e.number, e.incarnation INTO newest FROM eras AS e ORDER BY e.number DESC LIMIT 1;
    IF newest.incarnation = evidence() THEN
        RETURN;
    END IF;
    LOCK TABLE eras IN SHARE ROW EXCLUSIVE MODE;
    SELECT e.number, e.incarnation INTO newest FROM eras AS e ORDER BY e.number DESC LIMIT 1;
    IF newest.incarnation IS DISTINCT FROM evidence() THEN
        base := (coalesce(newest.number, 0) + 1)::bigint << 48;
        INSERT INTO eras (number, incarnation, first)
        VALUES (coalesce(newest.number, 0) + 1, evidence(), base + txid_current());
        -- A constant, for each row's default: planned once a COPY.
        EXECUTE format('CREATE OR REPLACE FUNCTION era_base() RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS %L',
                       format('SELECT %s::bigint', base));
    END IF;
END $$;
REVOKE ALL ON FUNCTION begin_era FROM PUBLIC;
GRANT EXECUTE ON FUNCTION begin_era TO lcs_archiving, lcs_admin;

-- Return up to where all is committed, in the reader's snapshot: no IM will come any more whose xact lies
-- before it.
CREATE OR REPLACE FUNCTION read_horizon(OUT incarnation uuid, OUT before bigint, OUT last_unordered uuid)
LANGUAGE sql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    SELECT evidence(), e.number::bigint * (1::bigint << 48) + txid_snapshot_xmin(txid_current_snapshot()), u.last_id
    FROM eras AS e, unordered AS u ORDER BY e.number DESC LIMIT 1
$$;
REVOKE ALL ON FUNCTION read_horizon FROM PUBLIC;
GRANT EXECUTE ON FUNCTION read_horizon TO lcs_admin;

-- Show each IM by the transaction that stored it.
CREATE OR REPLACE VIEW message_order AS SELECT xact, id, sent_at FROM messages;
GRANT SELECT ON message_order TO lcs_admin;

-- Show each era with its first xact and the end of its numbers.
CREATE OR REPLACE VIEW era_order AS SELECT number, first, (number + 1)::bigint << 48 AS "end" FROM eras;
GRANT SELECT ON era_order TO lcs_admin;
