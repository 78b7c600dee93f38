"""Chaos: whatever is killed, cut, filled or restarted, an IM answered 201 or 202 is stored once or parked."""
