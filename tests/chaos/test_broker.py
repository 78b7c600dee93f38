"""What befalls the broker, and the way to it."""

import contextlib
from collections.abc import Iterator

import pytest

from contract.topology import INGEST_EXCHANGE, QUEUE
from deploy.credentials import FRONT_END_USER
from deploy.local.process import wait_for
from tests.chaos.processes import ProcessCase
from tests.chaos.scenarios import (
    check_answers,
    survive_a_frozen_broker,
    survive_a_killed_broker,
    wait_until_away,
)

DIFFERENCES = (
    "SELECT conversation, recorded - archived - parked - discarded"
    " FROM cdr.reconcile(now() - interval '1 day', now() + interval '1 minute') WHERE differing > 0"
)
LIMIT = {"pattern": "^lcslog$", "priority": 9, "apply-to": "queues"}


@contextlib.contextmanager
def counting_once(case: ProcessCase) -> Iterator[None]:
    """See to it that call detail records and archive agree, however often what happens has IMs sent again."""

    def differing() -> set[tuple[str, int]]:
        with case.system.session() as connection:
            return set(connection.execute(DIFFERENCES).fetchall())

    before = differing()  # where a front end was killed they do
    yield
    wait_for(lambda: differing() <= before, "records and archive to agree")


def test_a_broker_killed_under_load_loses_nothing(case: ProcessCase, critical: bool) -> None:
    with counting_once(case):
        survive_a_killed_broker(case, critical=critical)


def test_a_broker_restarted_in_order_loses_nothing(case: ProcessCase) -> None:
    case.system.make_critical(False)
    with case.load() as load:
        case.system.node.stop()
        wait_until_away(case, critical=False)
        load.wait_for_answer(202)
        case.system.node.start()
        load.wait_for_answer(201, 50)
    check_answers(case, critical=False)
    case.check()


def test_a_broker_that_stands_still_is_no_hang(case: ProcessCase, critical: bool) -> None:
    with counting_once(case):
        survive_a_frozen_broker(case, critical=critical)


def test_connections_reset_again_and_again_lose_nothing(case: ProcessCase, critical: bool) -> None:
    assert case.system.to_broker is not None
    with counting_once(case):
        with case.load() as load:
            for _ in range(5):
                case.system.to_broker.cut()
                load.wait_for_answer(201, 20)
        case.check()


def test_a_network_that_swallows_everything_is_no_hang(case: ProcessCase, critical: bool) -> None:
    assert case.system.to_broker is not None
    with case.load() as load:
        case.system.to_broker.black_hole()
        try:
            wait_until_away(case, critical=critical)
            load.wait_for_answer(503 if critical else 202, 10, seconds=10)
        finally:
            case.system.to_broker.mend()
            case.system.to_broker.cut()
        load.wait_for_answer(201, 50)
    check_answers(case, critical=critical)
    case.check()


@pytest.mark.parametrize("short_of", ["memory", "disk"])
def test_a_broker_short_of_memory_or_disk_is_no_hang(
    case: ProcessCase, critical: bool, short_of: str
) -> None:
    alarms = {
        "memory": ("set_vm_memory_high_watermark", "0.0000001", "0.8"),
        "disk": ("set_disk_free_limit", "1000000GB", "50MB"),
    }
    command, short, fine = alarms[short_of]
    with case.load() as load:
        case.system.node.control(command, short)
        try:
            wait_until_away(case, critical=critical)
            assert all("short of memory or disk" in each["why"] for each in _later(case))
            load.wait_for_answer(503 if critical else 202, 10, seconds=10)
        finally:
            case.system.node.control(command, fine)
        load.wait_for_answer(201, 50)
    check_answers(case, critical=critical)
    case.check()


def _later(case: ProcessCase) -> list[dict[str, str]]:
    """Return the front ends' states once they have found out why."""
    wait_for(
        lambda: all("short of" in each["why"] for each in case.system.states()), "the reason to be known"
    )
    return case.system.states()


def test_a_queue_that_is_full_refuses_and_goes_on(case: ProcessCase, critical: bool) -> None:
    path = "/api/policies/lcs/full"
    limit = LIMIT | {"definition": {"max-length": 1, "overflow": "reject-publish"}}
    with case.load() as load:
        case.system.end_worker()
        case.system.node.manage("PUT", path, limit)
        try:
            load.wait_for_answer(503 if critical else 202, 10)
        finally:
            case.system.node.manage("DELETE", path)
            case.system.start_worker("archiving-1")
        load.wait_for_answer(201, 50)
    check_answers(case, critical=critical)
    case.check()


def test_a_queue_deleted_and_made_anew_is_found_again(case: ProcessCase, critical: bool) -> None:
    with case.load() as load:
        # What an operator should do first: else what waits there is gone, and completeness says so.
        case.system.node.manage("DELETE", f"/api/bindings/lcs/e/{INGEST_EXCHANGE}/q/{QUEUE}/{QUEUE}")
        wait_until_away(case, critical=critical)
        # Not by the broker's count of what waits: that is some seconds old.
        confirmed = case.journal.answered(frozenset({201}))
        wait_for(lambda: not case.system.missing(confirmed), "everything confirmed to be archived")
        load.wait_for_answer(503 if critical else 202)
        case.system.node.manage("DELETE", f"/api/queues/lcs/{QUEUE}")
        declared = {"durable": True, "arguments": {"x-queue-type": "quorum"}}
        case.system.node.manage("PUT", f"/api/queues/lcs/{QUEUE}", declared)
        case.system.node.manage(
            "POST", f"/api/bindings/lcs/e/{INGEST_EXCHANGE}/q/{QUEUE}", {"routing_key": QUEUE}
        )
        load.wait_for_answer(201, 50)
    check_answers(case, critical=critical)
    case.check()


def test_users_whose_passwords_were_changed_wait_until_they_are_changed_back(
    case: ProcessCase, critical: bool
) -> None:
    manage = case.system.node.manage
    users = [user for user in manage("GET", "/api/users") if user["name"].startswith(FRONT_END_USER)]
    assert len(users) == 3, "one for the pool, and one for each front end"
    with case.load() as load:
        for user in users:
            manage("PUT", f"/api/users/{user['name']}", {"password": "another", "tags": ""})
        assert case.system.to_broker is not None
        case.system.to_broker.cut()
        wait_until_away(case, critical=critical)
        load.wait_for_answer(503 if critical else 202)
        for user in users:
            old = {key: user[key] for key in ("password_hash", "hashing_algorithm")} | {"tags": ""}
            manage("PUT", f"/api/users/{user['name']}", old)
        load.wait_for_answer(201, 50)
    check_answers(case, critical=critical)
    case.check()


def test_the_oracle_sees_what_is_lost(case: ProcessCase) -> None:
    """A row taken away behind the system's back: the oracle must fail, or it proves nothing."""
    with case.load():
        pass
    case.check()
    with case.system.session() as connection:
        victim = connection.execute("SELECT id FROM archive.messages ORDER BY id DESC LIMIT 1").fetchone()
        assert victim is not None
        connection.execute(
            "CREATE TEMPORARY TABLE kept AS SELECT * FROM archive.messages WHERE id = %s", victim
        )
        connection.execute("DELETE FROM archive.messages WHERE id = %s", victim)
        with pytest.raises(AssertionError, match="neither archived nor parked"):
            case.check(seconds=1)
        connection.execute("INSERT INTO archive.messages SELECT * FROM kept")
    case.check()
