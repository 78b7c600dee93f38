"""Parked: kept in the archive as it came, because it cannot be stored as an IM or a record."""
