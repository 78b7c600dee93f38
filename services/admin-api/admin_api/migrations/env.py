"""Alembic's entry: one transaction under a lock, so that two runs at once do the work once."""

from alembic import context
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool

SCHEMA = "policy"

url = make_url(context.config.attributes["database_url"]).set(drivername="postgresql+psycopg")
with create_engine(url, poolclass=NullPool).begin() as connection:
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:schema))"), {"schema": SCHEMA})
    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
    context.configure(connection=connection, version_table_schema=SCHEMA)
    with context.begin_transaction():
        context.run_migrations()
