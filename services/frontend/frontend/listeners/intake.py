"""The intake: what callers have begun to send, bounded in number, bytes and time, in fair shares."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import Request
from starlette.requests import ClientDisconnect

from frontend.agent import RETRY_AFTER
from frontend.config import FrontEndSettings
from frontend.listeners.turns import MOST_IN_ROUND, PART, REQUEST, ROUND, STRANGERS, Shares, Turns
from runtime.problem import Problem
from runtime.token import Connector

UNFINISHED_SECONDS: Final = 60.0
"""Seconds for an IM from its first byte to its last."""
_LOOK_SECONDS: Final = 1.0
_MIN_BYTES: Final = 64 << 20
_LINES: Final = 16
"""IMs of the greatest size that may be unfinished at once, at least."""
_FREE: Final = 4096
"""Bytes of an unfinished IM that are not counted: most IMs are shorter, and go on whatever other connectors
do."""
_MOST_STREAMS: Final = 500
"""Streams of a connector, at most."""
_STREAMS_SHARE: Final = 4
"""A connector's streams are at most one in so many of the connections."""
_REQUESTS_SHARE: Final = 2
"""A connector's unanswered requests are at most one in so many of the connections."""
_MOST_UNANSWERED: Final = 200_000


FULL: Final = "too many bytes of unfinished IMs are here: send it again later"


class Intake:
    """Counts requests, streams, unfinished bytes and unanswered IMs, and ends the reading of late ones."""

    def __init__(self, settings: FrontEndSettings, most_connections: int, connectors: int = 1) -> None:
        """``most_connections``: of this process. ``connectors``: how many there are."""
        self.most = settings.max_im_bytes
        """Bytes of one IM as JSON."""
        self._bytes = Shares(max(_MIN_BYTES, _LINES * self.most), connectors)
        self._unanswered = Shares(_MOST_UNANSWERED, connectors)
        self.turns = Turns()
        """The turns in which callers take the event loop's time."""
        self._most_requests = max(1, most_connections // _REQUESTS_SHARE)
        self._requests: Counter[str] = Counter()
        self._most_streams = max(1, min(_MOST_STREAMS, most_connections // _STREAMS_SHARE))
        self._streams: Counter[str] = Counter()
        self._begun: dict[asyncio.Task[Any], float] = {}
        """Tasks that wait for the rest of an IM, and since when; the oldest first."""
        self._late: set[asyncio.Task[Any]] = set()

    def is_full(self, connector: Connector) -> bool:
        """Return True if a connector has too many unanswered IMs, so that each of its streams may have only
        few."""
        return not self._unanswered.has_room(connector.name)

    def note_unanswered(self, connector: Connector, more: int) -> None:
        """Add to a connector's unanswered IMs, or subtract."""
        self._unanswered.add(connector.name, more)

    def hold(self, connector: Connector, before: int, now: int) -> bool:
        """Note that an unfinished IM has grown from ``before`` to ``now`` bytes, or shrunk; return False if
        it may not."""
        more = max(0, now - _FREE) - max(0, before - _FREE)
        if more > 0 and not self._bytes.has_room(connector.name, more):
            return False
        self._bytes.add(connector.name, more)
        return True

    def open_stream(self, connector: Connector) -> None:
        """Count a stream. Raises Problem (503) if its connector has too many."""
        if self._streams[connector.name] >= self._most_streams:
            raise Problem(
                503,
                f"connector {connector.name!r} has {self._most_streams} streams open: send on these, or end"
                " some",
                headers=RETRY_AFTER,
            )
        self._streams[connector.name] += 1

    def close_stream(self, connector: Connector) -> None:
        """Count a stream no longer."""
        self._streams[connector.name] -= 1

    async def run(self) -> None:
        """Cancel tasks whose IM comes too slowly, until cancelled; a timer for each would cost more."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            past = time.monotonic() - UNFINISHED_SECONDS
            late = [(task, since) for task, since in self._begun.items() if since < past]
            for task, since in late:
                await self.turns.wait(STRANGERS, MOST_IN_ROUND)  # a thousand answers at once would take long
                if self._begun.get(task) == since:
                    self.end(task)
                    self._late.add(task)
                    task.cancel()

    def begin(self, task: asyncio.Task[Any]) -> None:
        """Note that a task waits for the rest of an IM; it is cancelled if that comes too late."""
        self._begun.setdefault(task, time.monotonic())

    def end(self, task: asyncio.Task[Any]) -> None:
        """Note that a task waits no longer."""
        self._begun.pop(task, None)

    def is_late(self, task: asyncio.Task[Any]) -> bool:
        """Return True if a task was cancelled because its IM came too slowly, and undo the cancellation."""
        if task not in self._late:
            return False
        self._late.discard(task)
        task.uncancel()
        return True

    @asynccontextmanager
    async def request(self, request: Request, connector: Connector) -> AsyncIterator[bytes]:
        """Yield a request's whole body, read in its connector's turns. Raises Problem."""
        if self._requests[connector.name] >= self._most_requests:
            raise Problem(
                503,
                f"{self._most_requests} requests of connector {connector.name!r} are not answered yet: send"
                " it again later",
                headers=RETRY_AFTER,
            )
        self._requests[connector.name] += 1
        try:
            yield await self._read(request, connector)
        finally:
            self._requests[connector.name] -= 1

    async def _read(self, request: Request, connector: Connector) -> bytes:
        """Read a request to its end, even if it is refused: a caller that sends does not read an answer.
        Raises Problem."""
        body = bytearray()
        problem: Problem | None = None
        task = asyncio.current_task()
        assert task is not None
        self.begin(task)
        its_round = request.scope.get(ROUND, -1)
        try:
            async for chunk in request.stream():
                if chunk and (its_round != self.turns.round or len(body) + len(chunk) > REQUEST):
                    await self.turns.wait(connector.name, PART + len(chunk))
                    its_round = self.turns.round
                if problem is None:
                    problem = self._take(connector, body, chunk)
            if its_round != self.turns.round:  # its end came alone: to read it takes time as well
                await self.turns.wait(connector.name, PART)
        except ClientDisconnect:
            raise Problem(400, "the request ended early") from None
        except asyncio.CancelledError:
            if self.is_late(task):
                raise Problem(408, f"the request was not whole within {UNFINISHED_SECONDS:.0f} s") from None
            raise
        finally:
            self.end(task)
            self.hold(connector, len(body), 0)
        if problem is not None:
            raise problem
        return bytes(body)

    def _take(self, connector: Connector, body: bytearray, chunk: bytes) -> Problem | None:
        """Add a chunk to a body; return a Problem if it may not grow so."""
        size = len(body) + len(chunk)
        if size > self.most:
            return Problem(413, f"the request has more than the {self.most} bytes that an IM may have")
        if not self.hold(connector, len(body), size):
            return Problem(503, FULL, headers=RETRY_AFTER)
        body += chunk
        return None
