-- Two front ends of one name are both seen. For one of before, which doesn't say which process it is, its agent stands there.

ALTER TABLE policy.front_ends
    ADD COLUMN process uuid,
    ADD COLUMN first_seen timestamptz NOT NULL DEFAULT now();
UPDATE policy.front_ends SET process = agent, first_seen = last_seen;
ALTER TABLE policy.front_ends
    DROP CONSTRAINT front_ends_pkey,
    ADD PRIMARY KEY (name, process);
COMMENT ON COLUMN policy.front_ends.process IS 'another one for each start of a front end';
