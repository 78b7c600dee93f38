-- The order in which IMs were committed, for whoever follows the archive (docs/decisions/0027). Their ids are times: what
-- is committed late lies behind them.

SET LOCAL search_path = archive;

-- Numbers of transactions begin anew in another cluster, and go back with a restore. So they are counted in eras: one
-- begins with each incarnation of the archive, and all of an era comes before the next.
CREATE TABLE eras (
    number smallint PRIMARY KEY,
    incarnation uuid NOT NULL,
    first bigint NOT NULL,
    since timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN eras.first IS 'no IM has an xact of this era below it';
CREATE FUNCTION era_base() RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT 0::bigint';

-- Begin an era if the archive is another than before. Workers do before they store anything.
CREATE FUNCTION begin_era() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
DECLARE
    newest eras;
    base bigint;
BEGIN
    SELECT * INTO newest FROM eras ORDER BY number DESC LIMIT 1;
    IF newest.incarnation = evidence() THEN
        RETURN;
    END IF;
    LOCK TABLE eras IN SHARE ROW EXCLUSIVE MODE;
    SELECT * INTO newest FROM eras ORDER BY number DESC LIMIT 1;
    IF newest.incarnation IS DISTINCT FROM evidence() THEN
        base := (coalesce(newest.number, 0) + 1)::bigint << 48;
        INSERT INTO eras (number, incarnation, first)
        VALUES (coalesce(newest.number, 0) + 1, evidence(), base + txid_current());
        -- A constant, for each row's default: planned once a COPY.
        EXECUTE format('CREATE OR REPLACE FUNCTION era_base() RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS %L',
                       format('SELECT %s::bigint', base));
    END IF;
END $$;
SELECT begin_era();

-- Rows of before have none. To give them one would write all of them anew.
ALTER TABLE messages ADD COLUMN xact bigint;
ALTER TABLE messages ALTER COLUMN xact SET DEFAULT archive.era_base() + txid_current();
COMMENT ON COLUMN messages.xact IS 'era and transaction that stored it; null: of before this column';
-- One block range index for all that grows as rows are appended: two cost the worker twice. What it has not summarized yet
-- is read whole each time, so it doesn't wait for VACUUM.
DROP INDEX messages_received;
CREATE INDEX messages_appended ON messages USING brin (received_at, xact) WITH (autosummarize = on);

CREATE TABLE unordered (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    last_id uuid
);
COMMENT ON COLUMN unordered.last_id IS 'the greatest id of an IM in messages without xact';
INSERT INTO unordered SELECT true, (SELECT id FROM messages ORDER BY id DESC LIMIT 1);

-- Up to where all is committed, in the reader's snapshot: nothing will come any more whose xact lies before it.
CREATE FUNCTION read_horizon(OUT incarnation uuid, OUT before bigint, OUT last_unordered uuid)
LANGUAGE sql SECURITY DEFINER SET search_path = archive, pg_temp AS $$
    SELECT evidence(), e.number::bigint * (1::bigint << 48) + txid_snapshot_xmin(txid_current_snapshot()), u.last_id
    FROM eras AS e, unordered AS u ORDER BY e.number DESC LIMIT 1
$$;

CREATE VIEW message_order AS SELECT xact, id, sent_at FROM messages;
CREATE VIEW era_order AS SELECT number, first, (number + 1)::bigint << 48 AS "end" FROM eras;

REVOKE ALL ON FUNCTION era_base, begin_era, read_horizon FROM PUBLIC;
GRANT EXECUTE ON FUNCTION era_base, begin_era TO lcs_archiving;
GRANT EXECUTE ON FUNCTION begin_era, read_horizon TO lcs_admin;
GRANT SELECT ON message_order, era_order TO lcs_admin;
