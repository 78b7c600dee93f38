"""Fair turns: one connector's flood takes its own time and capacity, not another's.

While the event loop takes IMs in, it does nothing else. So in each of its rounds callers bring a bounded
number of bytes. The rest waits, in each connector's order, and the connectors take turns. A request that
takes more time than its bytes suggest ends the round, such as a kilobyte that unfolds to many; one that takes
far more is followed by an equally long rest.
"""

import asyncio
import time
from collections import Counter, OrderedDict, deque
from typing import Final, NamedTuple

MOST_IN_ROUND: Final = 524_288
"""Bytes that are taken in in one round of the event loop: some milliseconds' work."""
MOST_SECONDS: Final = 0.02
"""Seconds of this thread after which no further caller goes in a round, and a stream's turn ends: bytes do
not show the time that an IM takes."""
LONG: Final = 0.04
"""Seconds of this thread that a round takes only if a request in it cost far more than its bytes."""
_USUAL: Final = 3e-7
"""Seconds for a byte, at most, of cheap requests, such as a stream of short IMs."""
REQUEST: Final = 32_768
"""Bytes for which a request counts, at least."""
ROUND: Final = "lcs.round"
"""In a request's scope: the round in which it began. The part of its body that came by then, up to
``REQUEST`` bytes, needs no further turn."""
PART: Final = 2048
"""Bytes for which a part of a body counts."""
ANSWER: Final = 64
"""Bytes for which an answer of a stream counts."""
MOST_ANSWERS: Final = 1000
"""Answers of a stream in one turn, at most."""
STRANGERS: Final = ""
"""The name under which callers without a token take turns together; no connector has it."""


class _Waiter(NamedTuple):
    turn: "asyncio.Future[None]"
    cost: int
    """In bytes."""


class Turns:
    """Lets callers go in this round of the event loop, or has them wait for one of the next."""

    def __init__(self) -> None:
        self._left = MOST_IN_ROUND
        self._running = False
        self._went = 0
        """Bytes that have gone in this round: the first go, however little time is left."""
        self._last = ""
        """The connector that went last."""
        self._began = 0.0
        """When the round began, by this thread's time."""
        self._called = False
        """True once the next to go are called: no other goes before them."""
        self._waiting: OrderedDict[str, deque[_Waiter]] = OrderedDict()
        """The waiting, by connector; the next connector in turn first."""
        self._slow = ""
        """The connector that took all of a round's time last: another that waits goes before it, once."""
        self._put_off: list[tuple[str, _Waiter]] = []
        """Callers whose turn had come in this round when its time was over."""
        self.round = 0
        """The round's number."""

    async def wait(self, connector: str, cost: int) -> None:
        """Return when it is this connector's turn for a request of so many bytes."""
        if not self._running:
            self._start()
        if self._left > 0 and not self._waiting and not self._called and not self._is_over():
            self._left -= cost
            self._go(connector, cost)
            return
        waiter = _Waiter(asyncio.get_running_loop().create_future(), cost)
        self._waiting.setdefault(connector, deque()).append(waiter)
        await waiter.turn
        while self._is_over():  # what went before in this round took all its time
            waiter = _Waiter(asyncio.get_running_loop().create_future(), cost)
            self._put_off.append((connector, waiter))
            await waiter.turn
        self._go(connector, cost)

    def _go(self, connector: str, cost: int) -> None:
        self._went += cost
        self._last = connector

    def _is_over(self) -> bool:
        return self._went > 0 and time.thread_time() - self._began >= MOST_SECONDS

    def _start(self) -> None:
        self._running = True
        self._went = 0
        self._began = time.thread_time()
        asyncio.get_running_loop().call_soon(self._end_round)

    def _end_round(self) -> None:
        took = time.thread_time() - self._began
        self.round += 1
        if took >= MOST_SECONDS:
            self._slow = self._last
        if took < MOST_SECONDS or took < min(LONG, self._went * _USUAL):
            self._begin_round(MOST_IN_ROUND)
        else:  # what is under way of others has as long; then one goes
            self._left = 0
            asyncio.get_running_loop().call_later(took, self._begin_round, 1)

    def _begin_round(self, most: int) -> None:
        self._left = most
        self._take_back()
        if self._slow in self._waiting:
            self._waiting.move_to_end(self._slow)
            self._slow = ""
        self._called = self._running = bool(self._waiting)
        while self._waiting and self._left > 0:
            connector, queue = self._waiting.popitem(last=False)
            waiter = queue.popleft()
            if queue:
                self._waiting[connector] = queue
            if not waiter.turn.done():  # who waited may have gone
                waiter.turn.set_result(None)
                self._left -= waiter.cost
        if self._running:  # the round ends behind all who go in it
            self._start()

    def _take_back(self) -> None:
        """Put callers that were put off first in their connectors' queues, and these connectors first."""
        for connector, waiter in reversed(self._put_off):
            self._waiting.setdefault(connector, deque()).appendleft(waiter)
            self._waiting.move_to_end(connector, last=False)
        self._put_off.clear()


class Shares:
    """A capacity of which each connector has a share that the others can't take."""

    def __init__(self, most: int, connectors: int) -> None:
        """``connectors``: how many there are. One may have all of it while the others want none."""
        self._most = most
        self._share = max(1, most // max(1, connectors))
        self._total = 0
        self._of: Counter[str] = Counter()

    def has_room(self, connector: str, more: int = 1) -> bool:
        """Return True if a connector may have ``more``."""
        return self._total + more <= self._most or self._of[connector] + more <= self._share

    def add(self, connector: str, more: int) -> None:
        """Add to a connector's part, or subtract."""
        self._total += more
        self._of[connector] += more
