"""How a service brings its schema of the database up to date: migrations, then functions and views."""

import hashlib
from pathlib import Path

from alembic import command, context
from alembic.config import Config
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.pool import NullPool


def upgrade(migrations: Path, database_url: str, revision: str = "head") -> None:
    """Bring a schema to a revision of a folder of migrations; safe to run twice at once.

    Raises the database's errors.
    """
    config = Config()
    config.set_main_option("script_location", str(migrations))
    config.attributes["database_url"] = database_url
    command.upgrade(config, revision)


def run_migrations(schema: str, definitions: Path) -> None:
    """Run the migrations that Alembic was asked for; at the newest one, define functions and views.

    Alembic calls it from ``env.py``. It is one transaction under a lock, so that two runs at once do the
    work once.
    """
    url = make_url(context.config.attributes["database_url"]).set(drivername="postgresql+psycopg")
    with create_engine(url, poolclass=NullPool).begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:schema))"), {"schema": schema})
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
        context.configure(connection=connection, version_table_schema=schema)
        with context.begin_transaction():
            context.run_migrations()
        revision = context.get_context().get_current_revision()
        if revision is not None and revision == context.get_head_revision():
            _define(connection, schema, definitions, revision)


def _define(connection: Connection, schema: str, definitions: Path, revision: str) -> None:
    """Execute the SQL files of a folder, in the order of their names, unless the schema is as they say.

    The schema's comment says which files at which revision made it. Without a change nothing is locked.
    """
    files = [path.read_text() for path in sorted(definitions.glob("*.sql"))]
    digest = hashlib.sha256("\0".join([revision, *files]).encode()).hexdigest()
    comment = f"functions and views of revision {revision}, SHA-256 {digest}"
    said = connection.scalar(
        text("SELECT obj_description(to_regnamespace(:schema), 'pg_namespace')"), {"schema": schema}
    )
    if said != comment:
        for file in files:
            connection.connection.cursor().execute(file)
        connection.execute(text(f"COMMENT ON SCHEMA {schema} IS '{comment}'"))
