-- What weakened policy is rare in a trail of years: whoever asks for it would have all else looked through.
CREATE INDEX audit_weakened ON policy.audit (at, id) WHERE weakened;
