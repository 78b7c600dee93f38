"""Fair turns: one connector's flood takes its own time and room, not another's.

The event loop does nothing else while it takes in what came. So in each round of it callers bring so much and
no more; the rest waits, each connector's in order, and one of each connector goes in turn. What costs more
time than its bytes say is followed by as long a rest.
"""

import asyncio
import time
from collections import Counter, OrderedDict, deque
from typing import Final

MOST_IN_ROUND: Final = 524_288
"""Bytes that are taken in in one round of the event loop: some milliseconds."""
MOST_SECONDS: Final = 0.02
"""Of a stream in one turn: what an IM costs is not seen by its bytes."""
LONG: Final = 0.08
"""Seconds of this thread that a round takes only if something in it cost far more than its bytes."""
REQUEST: Final = 32_768
"""Bytes for which a request counts, however few it brings."""
PART: Final = 2048
"""For which a part of its body counts."""
ANSWER: Final = 64
"""For which an answer of a stream counts."""
MOST_ANSWERS: Final = 1000
"""Of a stream in one turn."""


STRANGERS: Final = ""
"""Have one turn together, in the place of a connector; none is called so."""


class Turns:
    """Who may go in this round of the event loop, and who waits for one of the next."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._left = MOST_IN_ROUND
        self._running = False
        self._began = 0.0
        """The round, by the time that this thread has had."""
        self._waiting: OrderedDict[str, deque[tuple[asyncio.Future[None], int]]] = OrderedDict()
        """By connector; the one whose turn it is first."""

    async def wait(self, connector: str, cost: int) -> None:
        """Return when it is this connector's turn for something that costs so many bytes."""
        if not self._running:
            self._running = True
            self._began = time.thread_time()
            asyncio.get_running_loop().call_soon(self._end_round)
        if self._left > 0 and not self._waiting:
            self._left -= cost
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(connector, deque()).append((turn, cost))
        await turn

    def _end_round(self) -> None:
        took = time.thread_time() - self._began
        if took < LONG:
            self._begin_round(MOST_IN_ROUND)
        else:  # what is under way of others has as long; then one goes
            self._left = 0
            asyncio.get_running_loop().call_later(took, self._begin_round, 1)

    def _begin_round(self, most: int) -> None:
        self._left = most
        self._running = bool(self._waiting)
        if self._running:
            self._began = time.thread_time()
            asyncio.get_running_loop().call_soon(self._end_round)
        while self._waiting and self._left > 0:
            connector, queue = self._waiting.popitem(last=False)
            turn, cost = queue.popleft()
            if queue:
                self._waiting[connector] = queue
            if not turn.done():  # who waited may have gone
                turn.set_result(None)
                self._left -= cost


class Shares:
    """So much of something, of which each connector's share is there for it whatever the others have."""

    def __init__(self, most: int, connectors: int) -> None:
        """``connectors``: how many there are. One may have all of it while the others want none."""
        self._most = most
        self._share = max(1, most // max(1, connectors))
        self._total = 0
        self._of: Counter[str] = Counter()

    def has_room(self, connector: str, more: int = 1) -> bool:
        """Return whether a connector may have more."""
        return self._total + more <= self._most or self._of[connector] + more <= self._share

    def add(self, connector: str, more: int) -> None:
        """Note that a connector has more, or less."""
        self._total += more
        self._of[connector] += more
