"""The private PostgreSQL server of the local stack: it starts again after whatever ended it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from deploy.local.database import Database
from deploy.local.process import kill_leftovers, wait_for, works_in

_QUERY = "SELECT count(*) FROM generate_series(1, 2000000000) AS each"
_ASKS = f"import psycopg, sys; psycopg.connect(sys.argv[1]).execute({_QUERY!r})"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A server that runs."""
    server = Database(tmp_path)
    server.start()
    yield server
    server.stop()


def is_asked(database: Database) -> bool:
    """Return whether a backend is at work on the query."""
    with psycopg.connect(database.url()) as connection:
        row = connection.execute("SELECT FROM pg_stat_activity WHERE query = %s", [_QUERY]).fetchone()
    return row is not None


def test_a_server_that_was_killed_amid_a_query_is_started_again(database: Database, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _ASKS, database.url()], stderr=subprocess.PIPE) as asks:
        wait_for(lambda: is_asked(database), "the query to run")
        assert kill_leftovers(tmp_path) == ["postgres"]
        asks.communicate()
    assert not [each for each in Path("/proc").glob("[0-9]*") if works_in(int(each.name), tmp_path)]
    database.start()


def test_a_server_whose_number_another_has_after_a_reboot_is_started_again(
    database: Database, tmp_path: Path
) -> None:
    kill_leftovers(tmp_path)
    other = Database(tmp_path / "other")
    other.start()
    try:
        number = (tmp_path / "other" / "postgres.group").read_text().strip()
        lock_file = tmp_path / "data" / "postmaster.pid"
        lock_file.write_text(number + lock_file.read_text().lstrip("0123456789"))
        database.start()
    finally:
        other.stop()


def test_a_server_whose_lock_file_a_power_cut_left_empty_is_started_again(
    database: Database, tmp_path: Path
) -> None:
    kill_leftovers(tmp_path)
    (tmp_path / "data" / "postmaster.pid").write_text("")
    database.start()
