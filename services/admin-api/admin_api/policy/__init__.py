"""Policy: what is archived of whom; read, changed, explained and handed to front ends."""
