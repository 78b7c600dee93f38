-- Whether there are call detail records: on, whatever is archived of what is said.

SET LOCAL search_path = policy;

CREATE TABLE cdr (
    name text PRIMARY KEY CHECK (name = 'cdr'),
    enabled boolean NOT NULL,
    version bigint NOT NULL
);
INSERT INTO cdr VALUES ('cdr', true, 1);

GRANT SELECT, UPDATE ON cdr TO lcs_admin;
