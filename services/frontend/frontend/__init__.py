"""The front end: every IM passes it, and is delivered only when it is safe or need not be archived."""
