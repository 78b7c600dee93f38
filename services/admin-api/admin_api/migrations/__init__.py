"""The schema ``policy``: who is archived, who changed that, and who read the archive."""

from pathlib import Path

from alembic import command
from alembic.config import Config


def migrate(database_url: str) -> None:
    """Bring the schema to the newest version; safe to run twice at once. Raises what the database raises."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["database_url"] = database_url
    command.upgrade(config, "head")
