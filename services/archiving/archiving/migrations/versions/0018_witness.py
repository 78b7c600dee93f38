"""A second witness of agents' numbers; numbers disowned; the statements are in the file beside this one."""

from pathlib import Path

from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Add the tables, their functions and the view that counts with them."""
    cursor = op.get_bind().connection.cursor()
    cursor.execute(Path(__file__).with_suffix(".sql").read_text())
