"""Tables, indexes and data of the schemas ``archive`` and ``cdr``; functions and views are in ``schema``."""

from pathlib import Path

from runtime.migrating import upgrade


def migrate(database_url: str) -> None:
    """Bring the schemas to the newest version; safe to run twice at once. Database errors pass through."""
    upgrade(Path(__file__).parent, database_url)
