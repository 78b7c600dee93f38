-- What is listed page by page is found by an index, however much there is: the audit trail by each of its filters, who
-- was told of archiving by when it was noted.

SET LOCAL search_path = policy;

CREATE INDEX audit_actor ON audit (actor, id);
CREATE INDEX audit_action ON audit (action, id);
CREATE INDEX audit_target ON audit (target, id);
-- All that an administrator sees: the few among the many reads.
CREATE INDEX audit_policy ON audit (id) WHERE action LIKE 'policy.%';
COMMENT ON COLUMN audit.detail IS 'of a read: what was asked, which IMs were given, or why none; of a bulk change: its counts';

ALTER TABLE disclaimers_sent ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY UNIQUE;
DROP INDEX disclaimers_sent_partner;
CREATE INDEX disclaimers_sent_partner ON disclaimers_sent (partner, id);
