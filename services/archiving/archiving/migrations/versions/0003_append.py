"""New IMs are appended without a detour; the statements are in the file beside this one."""

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Split the accounting from ``log_messages()``; let the worker append."""
    cursor = op.get_bind().connection.cursor()
    cursor.execute(Path(__file__).with_suffix(".sql").read_text())
