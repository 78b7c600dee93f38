"""Faults in an order that nobody chose: from a seed that is printed, for a bounded time."""

import os
import random
import signal
import time
from collections.abc import Callable

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.chaos.processes import ProcessCase
from tests.chaos.restore import restore_archive

SEED = int(os.environ.get("LCS_CHAOS_SEED") or random.SystemRandom().randrange(1 << 32))
SECONDS = float(os.environ.get("LCS_CHAOS_SECONDS", "25"))


def _restart_broker(case: ProcessCase) -> None:
    case.system.node.kill()
    case.system.node.start()


def _cut(case: ProcessCase) -> None:
    for proxy in (case.system.to_broker, case.system.to_database):
        assert proxy is not None
        proxy.cut()


def _restart_front_end(case: ProcessCase) -> None:
    case.system.front_end().kill()
    case.system.restart_front_end()


def _damage_spool(case: ProcessCase) -> None:
    """Overwrite the beginning of a spool that is full as likely as not: SQLite can't open it any more."""
    case.system.front_end().kill()
    for path in (case.system.folder / "front-ends" / "fe1").glob("*/spool.sqlite"):
        with path.open("r+b") as file:
            file.write(bytes(64))
    case.system.restart_front_end()


def _restart_worker(case: ProcessCase) -> None:
    case.system.end_worker()
    case.system.start_worker("archiving-1")


def _freeze(case: ProcessCase) -> None:
    for process in (case.system.worker(), case.system.front_end(2)):
        process.send(signal.SIGSTOP)
    case.system.node.pause()
    case.system.node.resume()
    for process in (case.system.worker(), case.system.front_end(2)):
        process.send(signal.SIGCONT)


def _restart_database(case: ProcessCase) -> None:
    case.system.server.kill()
    case.system.server.start()


FAULTS: dict[str, Callable[[ProcessCase], None]] = {
    "broker": _restart_broker,
    "cut": _cut,
    "front end": _restart_front_end,
    "spool": _damage_spool,
    "worker": _restart_worker,
    "freeze": _freeze,
    "database": _restart_database,
    "restore": restore_archive,
}


def test_faults_at_random_break_no_promise(case: ProcessCase) -> None:
    print(f"LCS_CHAOS_SEED={SEED} LCS_CHAOS_SECONDS={SECONDS:g}")  # noqa: T201 - shown when it fails
    end = time.monotonic() + SECONDS

    with case.load() as load:

        @seed(SEED)
        @settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(fault=st.sampled_from(sorted(FAULTS)), more=st.integers(0, 60), critical=st.booleans())
        def befall(fault: str, more: int, critical: bool) -> None:
            if time.monotonic() < end:
                case.system.make_critical(critical)
                FAULTS[fault](case)
                load.wait_for_safe(more)

        befall()
        case.system.wait_for_state("normal")
    case.check()
