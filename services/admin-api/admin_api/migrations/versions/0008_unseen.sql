-- What sessions of a pool may agree to send past the archive. By default nothing.

ALTER TABLE policy.pools ADD COLUMN unseen_media text[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN policy.pools.unseen_media IS 'msrp, t140, datachannel, file, fax, other: offers of these are relayed, else refused';
