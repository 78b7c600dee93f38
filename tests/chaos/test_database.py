"""What befalls the database, while front ends go on."""

from pathlib import Path

import pytest

from deploy.local.process import wait_for
from tests.chaos.processes import ProcessCase
from tests.chaos.restore import restore_archive
from tests.chaos.scenarios import survive_a_killed_part

_MEGABYTE = 1 << 20


def stand_still(case: ProcessCase) -> int:
    """Return how many rows there are, once no more come: the worker can't store."""
    case.system.worker().wait_until(
        lambda: "database out of reach" in case.system.worker().log.read_text()[-4000:], seconds=60
    )
    return len(case.system.archived())


def test_a_database_stopped_at_once_under_load_loses_nothing(case: ProcessCase) -> None:
    survive_a_killed_part(case, "database")
    assert case.journal.count(503) == 0


def test_a_database_restarted_in_order_loses_nothing(case: ProcessCase) -> None:
    with case.load() as load:
        case.system.server.stop()
        case.system.server.start()
        load.wait_for_safe(50)
    case.check()


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        ("ALTER ROLE lcs_archiving CONNECTION LIMIT 0", "ALTER ROLE lcs_archiving CONNECTION LIMIT -1"),
        (
            "ALTER ROLE lcs_archiving SET default_transaction_read_only = on",
            "ALTER ROLE lcs_archiving RESET default_transaction_read_only",
        ),
        (
            "REVOKE EXECUTE ON FUNCTION archive.log_messages FROM lcs_archiving",
            "GRANT EXECUTE ON FUNCTION archive.log_messages TO lcs_archiving",
        ),
    ],
    ids=["no connection is free", "read-only", "a right is missing"],
)
def test_a_database_that_refuses_gets_everything_later_and_nothing_is_parked(
    case: ProcessCase, broken: str, mended: str
) -> None:
    terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'lcs_archiving'"
    with case.load() as load, case.system.session() as connection:
        connection.execute(broken.encode())
        try:
            connection.execute(terminate)
            stand_still(case)
            load.wait_for_safe(50)
        finally:
            connection.execute(mended.encode())
            connection.execute(terminate)
        load.wait_for_safe(50)
    case.check()
    assert case.system.rows("SELECT FROM archive.parked WHERE state = 'parked'") == []


def test_a_disk_that_is_full_gets_everything_once_there_is_room(case: ProcessCase) -> None:
    if not case.system.has_small_disk:
        pytest.skip("only root may mount a small disk")
    filler = Path(case.system.folder) / "postgres" / "filler"
    with case.load() as load:
        with filler.open("wb") as file:
            try:
                while True:
                    file.write(b"\0" * _MEGABYTE)
                    file.flush()
            except OSError:
                pass  # full
        wait_for(lambda: "No space left" in _log_of(case), "the disk to be felt", seconds=60)
        load.wait_for_safe(20)
        filler.unlink()
        case.system.server.kill()
        case.system.server.start()
        load.wait_for_safe(50)
    case.check()
    assert case.system.rows("SELECT FROM archive.parked WHERE state = 'parked'") == []


def _log_of(case: ProcessCase) -> str:
    return (case.system.folder / "postgres" / "postgres.log").read_text(errors="replace")[-20_000:]


def test_a_lock_that_is_held_costs_time_and_nothing_else(case: ProcessCase) -> None:
    with case.load() as load, case.system.session() as connection, connection.transaction():
        connection.execute("LOCK TABLE archive.agents IN ACCESS EXCLUSIVE MODE")
        before = len(case.system.archived())
        load.wait_for_safe(200)
        assert len(case.system.archived()) == before
    case.check()


def test_a_month_without_a_partition_has_a_place(case: ProcessCase) -> None:
    with case.load() as load:
        with case.system.session() as connection:
            [(name,)] = connection.execute(
                "SELECT 'archive.messages_' || to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')"
            ).fetchall()
            with connection.transaction():
                connection.execute(f"ALTER TABLE archive.messages DETACH PARTITION {name}".encode())
                copy = f"INSERT INTO archive.messages_default SELECT * FROM {name}"  # noqa: S608 - our own name
                connection.execute(copy.encode())
                connection.execute(f"DROP TABLE {name}".encode())
        load.wait_for_safe(50)
    case.check()
    assert case.system.rows("SELECT FROM archive.messages_default LIMIT 1")
    with case.system.session() as connection:
        connection.execute("SELECT archive.ensure_partitions()")
    assert not case.system.rows("SELECT FROM archive.messages_default LIMIT 1")
    case.check()


def test_an_archive_restored_under_load_goes_on_with_its_own_numbers(case: ProcessCase) -> None:
    with case.load() as load:
        for _ in range(2):
            load.wait_for_safe(50)
            before = case.system.rows("SELECT archive.incarnation()")
            restore_archive(case)
            assert case.system.rows("SELECT archive.incarnation()") != before
        load.wait_for_safe(50)
    case.check()
    assert case.system.rows("SELECT FROM archive.parked WHERE state = 'parked'") == []


def test_a_long_outage_leaves_thousands_of_ims_that_are_drained(case: ProcessCase) -> None:
    with case.load(senders=1, streams=3) as load:
        case.system.server.kill()
        load.wait_for_safe(3000, seconds=120)
        case.system.server.start()
    assert case.journal.count(503) == 0
    case.check()


def test_a_network_between_worker_and_database_that_breaks_loses_nothing(case: ProcessCase) -> None:
    assert case.system.to_database is not None
    with case.load() as load:
        for _ in range(4):
            case.system.to_database.cut()
            load.wait_for_safe(30)
    case.check()
