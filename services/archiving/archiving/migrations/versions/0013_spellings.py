"""One person is one address; the statements are in the file beside this one."""

from pathlib import Path

import psycopg
from alembic import op

from archiving.spellings import note_all_spellings, rename_parties

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Note of each name in the archive whose it is, by the canonical form of today."""
    connection: psycopg.Connection | None = op.get_bind().connection.driver_connection
    assert connection is not None
    connection.execute(Path(__file__).with_suffix(".sql").read_text().encode())
    note_all_spellings(connection)
    rename_parties(connection)
