"""Tables, indexes and data of the schema ``policy``; functions and triggers are in ``schema``."""

from pathlib import Path

from runtime.migrating import upgrade


def migrate(database_url: str) -> None:
    """Bring the schema to the newest version; safe to run twice at once. Raises the database's errors."""
    upgrade(Path(__file__).parent, database_url)
