-- A notice that could not be delivered was never given: its record gives way to the next, and goes to the audit trail.

SET LOCAL search_path = policy;

GRANT DELETE ON disclaimers_sent TO lcs_admin;
CREATE INDEX disclaimers_sent_im ON disclaimers_sent (im);
