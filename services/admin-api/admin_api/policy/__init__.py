"""Policy: what is archived of whom, and what a change of it means."""
