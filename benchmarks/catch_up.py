"""After an outage: how long until the backlog is archived, while IMs go on coming."""

import asyncio
import threading
import time

from benchmarks.answer import Answer
from benchmarks.limits import make_ims, publish_groups
from benchmarks.load import make_submissions, send_stream
from benchmarks.system import System

_LIVE = 1667
"""IM/s of 300,000 users on average: 2 sessions of 10 IMs an hour each (the user model of OCS 2007 R2)."""
_USERS = 300_000
_MINUTES = 10
"""For which live load is prepared: far longer than it should take."""
_GROUP = 500
_CHUNK = 250_000


def measure_catch_up(system: System, backlog: int) -> Answer:
    """Fill the queue, start live load and then the worker."""
    answer = Answer("catch-up", "How long does a backlog take, while IMs go on coming?", ["what", "figure"])
    system.stop_worker()
    started = time.perf_counter()
    for first in range(0, backlog, _CHUNK):
        publish_groups(
            system.publisher_url, make_ims(min(_CHUNK, backlog - first), users=_USERS), size=_GROUP
        )
    filled = time.perf_counter() - started
    before = system.count()
    live = make_submissions(_LIVE * 60 * _MINUTES, seed=99, users=_USERS)
    accepted = _Live(system, live)
    accepted.start()
    started = time.perf_counter()
    system.settle()
    system.start_worker()
    marks = [(0.0, 0)]
    while marks[-1][1] < backlog + accepted.count:
        time.sleep(1)
        marks.append((time.perf_counter() - started, system.count() - before))
    seconds, archived = marks[-1]
    live_rate = accepted.count / seconds
    accepted.stop()
    system.wait_for(before + backlog + accepted.count)
    answer.add("IMs in the queue", f"{backlog:,}")
    answer.add("live load beside it, answered 201", f"{live_rate:,.0f}/s")
    answer.add("until backlog and live IMs are archived", f"{seconds:.0f} s")
    answer.add("rows committed", f"{archived / seconds:,.0f}/s")
    answer.add("filling the queue took", f"{filled:.0f} s")
    answer.unit = "IMs archived"
    tenth = max(1, len(marks) // 10)
    answer.bars = [(f"after {at:.0f} s", count) for at, count in marks[tenth::tenth]]
    return answer


class _Live(threading.Thread):
    """A stream at the live rate, in chunks of a second, until it is stopped."""

    def __init__(self, system: System, ims: list[bytes]) -> None:
        super().__init__(daemon=True)
        self._system = system
        self._ims = ims
        self._ending = threading.Event()
        self.count = 0

    def run(self) -> None:
        for first in range(0, len(self._ims), _LIVE):
            if self._ending.is_set():
                return
            some = self._ims[first : first + _LIVE]
            _, accepted = asyncio.run(
                send_stream(self._system.front_end_url, self._system.token, some, rate=_LIVE)
            )
            self.count += accepted

    def stop(self) -> None:
        self._ending.set()
        self.join()
