"""What befalls the archiving workers."""

import signal

import pytest

from contract.topology import QUEUE
from deploy.local.process import wait_for
from tests.chaos.processes import ProcessCase

_DIE = """
import os, signal
calls = 0
def die_at(cls, name, *, after):
    whole = getattr(cls, name)
    def broken(*arguments, **keywords):
        global calls
        calls += 1
        result = whole(*arguments, **keywords) if after or calls < 3 else None
        if not calls < 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(cls, name, broken)
"""
POINTS = {
    "before_copy": "from archiving.archive import Archive; die_at(Archive, 'append', after=False)",
    "after_copy": "import psycopg; die_at(psycopg.Copy, '__exit__', after=True)",
    "after_commit": "from archiving.consumer import Consumer; die_at(Consumer, 'acknowledge', after=False)",
    "in_mid_acknowledgement": (
        "from archiving.consumer import Consumer; die_at(Consumer, '_acknowledge', after=True)"
    ),
}


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_killed_at_any_point_loses_nothing_and_doubles_nothing(
    case: ProcessCase, point: str
) -> None:
    with case.load() as load:
        case.system.end_worker()
        broken = case.system.start_broken_worker(_DIE + POINTS[point])
        wait_for(lambda: not broken.alive, "the worker to die", seconds=60)
        assert broken.popen.returncode == -signal.SIGKILL
        case.system.start_worker("archiving-1")
        load.wait_for_safe(50)
    case.check()


def test_a_worker_told_to_end_in_mid_batch_stores_what_it_took(case: ProcessCase) -> None:
    with case.load() as load:
        assert case.system.end_worker(how=signal.SIGTERM) == 0
        case.system.start_worker("archiving-1")
        load.wait_for_safe(50)
    case.check()


def test_a_worker_that_stands_still_past_the_consumer_timeout_doubles_nothing(case: ProcessCase) -> None:
    set_environment = "application:set_env(rabbit, {}, {})."
    for name, milliseconds in (("consumer_timeout", 1000), ("channel_tick_interval", 500)):
        case.system.node.control("eval", set_environment.format(name, milliseconds))
    try:
        with case.load() as load:
            case.system.end_worker()
            frozen = case.system.start_worker("archiving-1")
            load.wait_for_safe(50)
            frozen.send(signal.SIGSTOP)
            load.wait_for_safe(200)
            path = f"/api/queues/lcs/{QUEUE}"
            wait_for(
                lambda: case.system.node.manage("GET", path).get("consumers") == 0,
                "the broker to take the consumer's messages back",
                seconds=150,  # by its heartbeat if not by the time-out
            )
            case.system.start_worker("archiving-2")
            load.wait_for_safe(50)
            frozen.send(signal.SIGCONT)
            load.wait_for_safe(50)
    finally:
        for name, milliseconds in (("consumer_timeout", 1_800_000), ("channel_tick_interval", 60_000)):
            case.system.node.control("eval", set_environment.format(name, milliseconds))
    case.check()
    case.system.end_worker(2)


def test_what_is_delivered_more_often_than_the_limit_is_parked_and_accounted_for(
    case: ProcessCase,
) -> None:
    path = "/api/policies/lcs/impatient"
    definition = {
        "delivery-limit": 1,
        "dead-letter-exchange": "lcs.park",
        "dead-letter-routing-key": QUEUE,
        "dead-letter-strategy": "at-least-once",
        "overflow": "reject-publish",
    }
    case.system.node.manage(
        "PUT", path, {"pattern": "^lcslog$", "priority": 9, "apply-to": "queues", "definition": definition}
    )
    try:
        with case.load() as load:
            case.system.end_worker()
            for _ in range(3):
                broken = case.system.start_broken_worker(_DIE.replace("< 3", "< 1") + POINTS["before_copy"])
                wait_for(lambda: not broken.alive, "the worker to die", seconds=60)  # noqa: B023 - waited for
            case.system.start_worker("archiving-1")
            load.wait_for_safe(50)
        case.check()
    finally:
        case.system.node.manage("DELETE", path)
    given_up = "SELECT id FROM archive.parked WHERE reason LIKE 'the broker gave it up%'"
    assert case.system.rows(given_up)
    with case.system.session() as connection:
        connection.execute(f"SELECT archive.request_replay(ARRAY({given_up}), 'a test', 'mended')".encode())
    wait_for(lambda: not case.system.rows(f"{given_up} AND state IN ('parked', 'replaying')"), "the replay")
    case.check()


def test_workers_scaled_up_and_down_under_load_lose_nothing(case: ProcessCase) -> None:
    with case.load() as load:
        for number in (2, 3, 4):
            case.system.start_worker(f"archiving-{number}")
        load.wait_for_safe(100)
        for number, how in ((4, signal.SIGTERM), (3, signal.SIGKILL), (2, signal.SIGTERM)):
            case.system.end_worker(number, how)
        load.wait_for_safe(50)
    case.check()
