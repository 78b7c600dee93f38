"""Call detail records: sessions, attempts past the archive, and the reconciliation with the archive."""
