"""Alembic's entry."""

from pathlib import Path

from runtime.migrating import run_migrations

run_migrations("policy", definitions=Path(__file__).parents[1] / "schema")
