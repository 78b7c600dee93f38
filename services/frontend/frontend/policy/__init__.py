"""Policy at the front end: as it is held, decided by, and told to partners."""
