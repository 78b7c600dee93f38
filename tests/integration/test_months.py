"""Months' partitions that are detached, attached by hand, or can't be made: IMs are archived all the same."""

import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psycopg
import pytest

from archiving.archive import Archive
from contract.message import IM, make_id, time_of
from deploy.local.process import find_free_port, wait_for
from tests.conftest import ArchiveDatabase, Vhost
from tests.integration.archiving_service import (
    changed,
    make_ims,
    parked,
    publish,
    running_worker,
    stored_ids,
    wait_until_stored,
)

_NOW = datetime.now(UTC)
_THIS = f"messages_{_NOW:%Y_%m}"
_FIRST = f"{_NOW:%Y-%m-01}"
_DETACH = f"ALTER TABLE archive.messages DETACH PARTITION archive.{_THIS}"
_ATTACH = (
    f"ALTER TABLE archive.messages ATTACH PARTITION archive.{_THIS}"
    f" FOR VALUES FROM ('{_FIRST} 00:00Z') TO ('{_FIRST} 00:00Z'::timestamptz + interval '1 month')"
)
_IN_THE_WAY = {
    "detached": _DETACH,
    "detached, and another under its name": f"{_DETACH}; DROP TABLE archive.{_THIS};"
    f" CREATE VIEW archive.{_THIS} AS SELECT 1",
    "a type under its name": f"{_DETACH}; DROP TABLE archive.{_THIS};"
    f" CREATE TYPE archive.{_THIS} AS ENUM ('a')",
    "a partition over its time": f"{_DETACH}; DROP TABLE archive.{_THIS};"
    f" CREATE TABLE archive.some PARTITION OF archive.messages"
    f" FOR VALUES FROM ('{_FIRST} 00:00Z') TO ('{_FIRST} 00:01Z')",
}

_TOLD_APART = "import archiving.worker\narchiving.worker.append_prepared = lambda *_: False"
"""As if the archive knew some of a batch already."""


def _execute(database: ArchiveDatabase, statement: str) -> None:
    with psycopg.connect(database.url("lcs_owner")) as connection:
        connection.execute("SET timezone = 'UTC'")
        connection.execute(statement.encode())


def _partitions(database: ArchiveDatabase) -> set[object]:
    query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'archive.messages'::regclass"
    return {row[0] for row in database.rows(query)}


def _waits_for_a_lock(database: ArchiveDatabase) -> bool:
    query = (
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        " AND usename = 'lcs_archiving'"
    )
    return database.rows(query) != []


@pytest.mark.parametrize("statement", _IN_THE_WAY.values(), ids=_IN_THE_WAY.keys())
def test_a_month_that_can_have_no_partition_stops_nothing_and_is_told_of(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path, statement: str
) -> None:
    _execute(database, f"{statement}; DROP TABLE archive.messages_{_next_month():%Y_%m}")
    before = _partitions(database)
    ims = make_ims(3)
    port = str(find_free_port())
    with running_worker(vhost, database, tmp_path, settings={"LCS_PORT": port}) as worker:
        publish(vhost, ims)
        wait_until_stored(database, ims)
        assert "database out of reach" not in worker.log.read_text()
        assert _THIS in worker.log.read_text()
        told = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        assert "lcs_archiving_lacking_partitions 1.0\n" in told
    assert _partitions(database) == before | {f"archive.messages_{_next_month():%Y_%m}"}
    in_default = database.rows("SELECT count(*) FROM archive.messages_default")
    assert in_default == [(3,)] or "archive.some" in before


def _next_month() -> datetime:
    return _NOW.replace(year=_NOW.year + _NOW.month // 12, month=_NOW.month % 12 + 1, day=1)


@pytest.mark.parametrize("patch", ["", _TOLD_APART], ids=["appended", "told apart"])
def test_an_im_on_its_way_while_its_month_is_attached_is_stored_not_parked(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path, patch: str
) -> None:
    _execute(database, _DETACH)
    ims = make_ims(1)
    with (
        psycopg.connect(database.url("lcs_owner")) as administrator,
        running_worker(vhost, database, tmp_path, patch=patch) as worker,
    ):
        wait_for(lambda: "connected to the database" in worker.log.read_text(), "the worker")
        administrator.execute("SET timezone = 'UTC'")
        administrator.execute(_ATTACH.encode())
        publish(vhost, ims)
        wait_for(lambda: _waits_for_a_lock(database), "the worker to store")
        administrator.commit()
        wait_for(lambda: bool(stored_ids(database) or parked(database)), "the IM")
    assert (stored_ids(database), parked(database)) == ([im.id for im in ims], [])


def test_a_month_is_made_while_its_ims_come(database: ArchiveDatabase) -> None:
    url = database.url("lcs_archiving")
    with closing(Archive(url)) as first, closing(Archive(url)) as second, ThreadPoolExecutor() as threads:
        agents = [make_ims(1)[0].agent for _ in range(2)]
        _execute(database, f"{_DETACH}; DROP TABLE archive.{_THIS}")

        def store(archive: Archive, place: int) -> int:
            return sum(
                archive.store(make_ims(2, agent=agents[place], first_seq=1 + 2 * n)) for n in range(40)
            )

        storing = [threads.submit(store, archive, n) for n, archive in enumerate((first, second))]
        wait_for(lambda: len(stored_ids(database)) > 10, "some IMs")
        with closing(Archive(url)) as third:
            third.ensure_partitions()
        assert [each.result() for each in storing] == [80, 80]
    assert f"archive.{_THIS}" in _partitions(database)
    assert database.rows("SELECT count(*) FROM archive.messages_default") == [(0,)]


def test_a_dump_that_takes_long_holds_up_no_im(
    database: ArchiveDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    _execute(database, f"{_DETACH}; DROP TABLE archive.{_THIS}")
    with (
        psycopg.connect(database.url("postgres")) as dump,
        closing(Archive(database.url("lcs_archiving"))) as archive,
        caplog.at_level(logging.WARNING, "archiving"),
    ):
        dump.execute("LOCK TABLE archive.messages_default IN ACCESS SHARE MODE")
        archive.ensure_partitions()
        assert archive.store(_old(make_ims(1))) == 1
        assert "lock timeout" in str([record.__dict__ for record in caplog.records])
    with closing(Archive(database.url("lcs_archiving"))) as archive:
        archive.ensure_partitions()
    assert f"archive.{_THIS}" in _partitions(database)


def _old(ims: list[IM]) -> list[IM]:
    """Return IMs of a year of which no partition is made."""
    return [changed(im, id=(new := make_id(1_000_000_000_000)), sent_at=time_of(new)) for im in ims]
