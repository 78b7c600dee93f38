"""Functions and triggers are defined by ``admin_api/schema`` from here on, not by migrations.

A release whose functions differ has a revision of its own, an empty one if need be: then an older release's
``migrate`` fails, and puts no older functions back.
"""

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Change no table."""
