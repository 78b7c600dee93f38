"""Functions, views and triggers: ``schema/*.sql`` makes all of them, whatever the database was before."""

import contextlib
import re
import subprocess
from itertools import zip_longest
from pathlib import Path
from types import ModuleType
from typing import LiteralString

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError

import admin_api.migrations
import archiving.migrations
from archiving.archive import Archive
from deploy.local.database import find_binaries
from tests.conftest import ArchiveDatabase
from tests.integration.archiving_service import make_ims

_OURS = "nspname IN ('archive', 'cdr', 'policy')"
_HELD_BY_TABLES = {"archive.era_base()", "policy.digest_of(text)", "policy.hashes_of(text[])"}
"""Functions that defaults and indexes call: migrations make them with their tables."""
_REDEFINE = "COMMENT ON SCHEMA archive IS NULL; COMMENT ON SCHEMA policy IS NULL"
"""A schema's comment says which files it was made by."""


def test_a_database_of_any_released_state_becomes_the_same_as_a_fresh_one(database: ArchiveDatabase) -> None:
    fresh = _dump(database)
    for states in zip_longest(_revisions(archiving.migrations), _revisions(admin_api.migrations)):
        for migrations, revision in zip((archiving.migrations, admin_api.migrations), states, strict=True):
            if revision is not None:
                database.begin_anew(migrations, revision)
        _migrate(database)
        assert _dump(database) == fresh, states


def test_the_files_alone_make_all_functions_views_and_triggers(database: ArchiveDatabase) -> None:
    before = _dump(database)
    with psycopg.connect(database.url("postgres"), autocommit=True) as connection:
        assert _drop_definitions(connection) == _HELD_BY_TABLES
        for function in sorted(_HELD_BY_TABLES - {"archive.era_base()"}):
            connection.execute(f"REVOKE ALL ON FUNCTION {function} FROM lcs_admin".encode())
            connection.execute(f"GRANT EXECUTE ON FUNCTION {function} TO PUBLIC".encode())
        connection.execute(_REDEFINE)
    _migrate(database)
    assert _dump(database) == before


def test_functions_and_views_are_made_anew_while_a_worker_is_in_the_midst_of_a_batch(
    database: ArchiveDatabase,
) -> None:
    archive = Archive(database.url("lcs_archiving"))
    archive.store(make_ims(1))
    with archive._connection.transaction():
        archive.store(make_ims(2))
        _execute(database, _REDEFINE)
        _migrate(database, "-c lock_timeout=1s")
    archive.store(make_ims(3))
    archive.close()
    assert database.rows("SELECT count(*) FROM archive.messages") == [(6,)]


def test_where_nothing_changed_nothing_is_locked(database: ArchiveDatabase) -> None:
    with psycopg.connect(database.url("lcs_admin")) as reader:
        reader.execute("SELECT FROM archive.archived_messages")
        _migrate(database, "-c lock_timeout=1s")
        _execute(database, _REDEFINE)
        with pytest.raises(Exception, match="lock timeout"):  # so the lock would have been seen
            _migrate(database, "-c lock_timeout=100ms")


def test_the_migrate_of_an_older_version_fails_in_a_newer_database_and_changes_nothing(
    database: ArchiveDatabase,
) -> None:
    _execute(
        database, "UPDATE archive.alembic_version SET version_num = '9999'; COMMENT ON SCHEMA archive IS NULL"
    )
    before = _dump(database)
    with pytest.raises(CommandError, match="9999"):
        archiving.migrations.migrate(database.url("lcs_owner"))
    assert _dump(database) == before


def _folder_of(migrations: ModuleType) -> Path:
    return Path(str(migrations.__file__)).parent


def _revisions(migrations: ModuleType) -> list[str]:
    """Return a service's revisions, the oldest first."""
    config = Config()
    config.set_main_option("script_location", str(_folder_of(migrations)))
    return [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()][::-1]


def _migrate(database: ArchiveDatabase, options: str = "") -> None:
    for migrations in (archiving.migrations, admin_api.migrations):
        migrations.migrate(f"{database.url('lcs_owner')}?options={options}")


def _execute(database: ArchiveDatabase, statements: LiteralString) -> None:
    with psycopg.connect(database.url("postgres"), autocommit=True) as connection:
        connection.execute(statements)


def _dump(database: ArchiveDatabase) -> str:
    """Return all of a database but its rows, as pg_dump writes it."""
    command = [str(find_binaries() / "pg_dump"), "--schema-only", database.url("postgres")]
    dump = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return re.sub(r"^\\(un)?restrict .*\n", "", dump, flags=re.MULTILINE)  # a random word each time


def _drop_definitions(connection: psycopg.Connection) -> set[str]:
    """Drop all views, triggers and functions; return the functions that tables hold."""

    def names(query: str) -> list[str]:
        return [name for (name,) in connection.execute(query.encode()).fetchall()]

    of_classes = f"FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE {_OURS}"
    views = names(f"SELECT c.oid::regclass::text {of_classes} AND relkind = 'v'")
    connection.execute(f"DROP VIEW {', '.join(views)}".encode())
    for trigger in names(
        "SELECT format('%I ON %s', tgname, tgrelid::regclass) FROM pg_trigger WHERE NOT tgisinternal"
    ):
        connection.execute(f"DROP TRIGGER {trigger}".encode())
    routines = "FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace"
    left: set[str] = set()
    while (now := set(names(f"SELECT p.oid::regprocedure::text {routines} WHERE {_OURS}"))) != left:
        left = now
        for routine in sorted(left):
            with contextlib.suppress(
                psycopg.errors.DependentObjectsStillExist, psycopg.errors.UndefinedFunction
            ):
                connection.execute(f"DROP ROUTINE {routine}".encode())
    return left
