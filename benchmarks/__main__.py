"""``make bench``: the services on a private stack, each figure beside its limit measured in the same run."""

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable

from benchmarks.accept import measure_accept
from benchmarks.answer import STATE, Answer, describe_machine
from benchmarks.catch_up import measure_catch_up
from benchmarks.drain import measure_drain
from benchmarks.growth import measure_rows, measure_users
from benchmarks.look_up import measure_look_up
from benchmarks.sip import measure_sip
from benchmarks.system import System
from benchmarks.tracing import measure_tracing
from benchmarks.whole_way import measure_whole_way
from deploy.local.process import kill_leftovers
from deploy.local.stack import Stack

_COUNT = int(os.environ.get("LCS_BENCH_IMS", "300000"))
_ROUNDS = int(os.environ.get("LCS_BENCH_ROUNDS", "3"))
_BACKLOG = int(os.environ.get("LCS_BENCH_BACKLOG", "4500000"))
_ROWS = [int(size) for size in os.environ.get("LCS_BENCH_ROWS", "10000,1000000,10000000").split(",")]
_RATES = [int(rate) for rate in os.environ.get("LCS_BENCH_SIP", "250,500,1000,1250,1500,2000").split(",")]
_USERS = [1000, 10_000, 300_000]

QUESTIONS: dict[str, Callable[[System], Iterable[Answer]]] = {
    "look-up": lambda _: [measure_look_up(1_000_000)],
    "drain": lambda system: [measure_drain(system, _COUNT, _ROUNDS)],
    "accept": lambda system: [measure_accept(system, _COUNT, _ROUNDS)],
    # Call detail records are held for up to 9 s: a run that is over before would not pay for them.
    "whole-way": lambda system: measure_whole_way(system, 2 * _COUNT, _ROUNDS),
    "tracing": lambda system: [measure_tracing(system, _COUNT, _ROUNDS)],
    "sip": lambda system: measure_sip(system, _RATES),
    "growth-users": lambda system: [measure_users(system, _USERS, _COUNT)],
    "catch-up": lambda system: [measure_catch_up(system, _BACKLOG)],
    "growth-rows": lambda system: [measure_rows(system, _ROWS, _COUNT)],
}


def _ask(name: str) -> list[Answer]:
    """Answer a question on a stack of its own, so that none pays for another's data."""
    print(f"{name}:", file=sys.stderr)
    folder = STATE / "stack"
    kill_leftovers(folder)
    shutil.rmtree(folder, ignore_errors=True)
    stack = Stack(folder, front_ends=1, say=lambda _: None)
    try:
        stack.start()
        system = System(stack)
        answers = list(QUESTIONS[name](system))
        system.close()
    finally:
        stack.stop()
    for answer in answers:
        answer.write()
        print(f"\n{answer.question}\n\n{answer.table()}\n", flush=True)
    return answers


def main() -> None:
    """Answer the questions named on the command line, by default all; keep the answers for the report.

    ``LCS_BENCH_IMS``: IMs of a run, ``LCS_BENCH_ROUNDS``: runs of which the median is shown,
    ``LCS_BENCH_BACKLOG``: IMs to catch up with, ``LCS_BENCH_ROWS``: sizes of the archive,
    ``LCS_BENCH_SIP``: MESSAGEs a second (needs a Docker Engine).
    """
    chosen = sys.argv[1:] or list(QUESTIONS)
    if unknown := set(chosen) - set(QUESTIONS):
        sys.exit(f"no such question: {', '.join(unknown)}; there are {', '.join(QUESTIONS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended then too
    print(f"{describe_machine()}; everything on this machine", flush=True)
    for name in chosen:
        _ask(name)


if __name__ == "__main__":
    main()
