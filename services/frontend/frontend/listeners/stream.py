"""A stream of IMs, answered line by line."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import msgspec
from fastapi import Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from contract.message import CONTENT_TYPE as NDJSON
from frontend.agent import RETRY_AFTER, Agent
from frontend.config import FrontEndSettings
from frontend.listeners.answer import Answer, outcome_of
from frontend.listeners.intake import FULL, UNFINISHED_SECONDS, Intake
from frontend.listeners.submission import read_submission
from frontend.listeners.turns import ANSWER, MOST_ANSWERS, MOST_IN_ROUND, MOST_SECONDS
from frontend.metrics import ANSWERED
from frontend.receipt import Receipt
from runtime.json_text import BOM
from runtime.problem import Problem
from runtime.security import KINDS, SecurityLog
from runtime.token import Connector

_WINDOW: Final = 4000
"""IMs of a stream that are taken in and not yet answered, at most: they bound its memory."""
_FEW: Final = 100
"""The same of each stream of a connector that has too many in all."""

_encoder = msgspec.json.Encoder()


class Stream(Response):
    """A stream of IMs: read, taken in and answered at the same time, in order, in constant memory."""

    def __init__(
        self,
        settings: FrontEndSettings,
        agent: Agent,
        intake: Intake,
        connector: Connector,
        traceparent: str | None,
        streams: "set[Stream]",
        security: SecurityLog,
    ) -> None:
        """``streams`` holds it while it lasts. Raises Problem (503) if the connector has too many."""
        super().__init__()
        self._settings = settings
        self._agent = agent
        self._intake = intake
        self._connector = connector
        self._traceparent = traceparent
        self._streams = streams
        self._security = security
        self._reading: asyncio.Task[None] | None = None
        self._unanswered: deque[tuple[int, Receipt | Problem]] = deque()
        self._came = asyncio.Event()
        self._has_room = asyncio.Event()
        self._ended = False
        self._lane = agent.lane_of(connector)
        self._noted = 0
        """Unanswered IMs that the intake has counted."""
        intake.open_stream(connector)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._serve(scope, receive, send)
        finally:
            self._intake.close_stream(self._connector)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", NDJSON.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        self._reading = asyncio.create_task(self._read(Request(scope, receive)))
        self._reading.add_done_callback(self._note_end)
        self._streams.add(self)
        try:
            async for lines in self._answer():
                await send({"type": "http.response.body", "body": lines, "more_body": True})
            if not self._reading.cancelled():
                self._reading.result()  # what failed there fails here
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._streams.discard(self)
            self._reading.cancel()
            self._unanswered.clear()
            self._note_unanswered()

    def stop(self) -> None:
        """Read no further."""
        if self._reading is not None:
            self._reading.cancel()

    def _note_end(self, _: "asyncio.Task[None]") -> None:
        self._ended = True
        self._came.set()

    async def _read(self, request: Request) -> None:
        lines = LineSplitter(self._intake, self._connector)
        task = asyncio.current_task()
        assert task is not None
        try:
            await self._read_lines(request, lines, task)
        except ClientDisconnect:
            pass
        except asyncio.CancelledError:
            if not self._intake.is_late(task):
                raise
            why = f"the line was not whole within {UNFINISHED_SECONDS:.0f} s: send it on another stream"
            self._unanswered.append((lines.number + 1, Problem(408, why)))
            self._note_unanswered()
        finally:
            self._intake.end(task)
            lines.forget()

    async def _read_lines(self, request: Request, lines: "LineSplitter", task: asyncio.Task[Any]) -> None:
        unanswered, has_room, now = self._unanswered, self._lane.has_room, time.monotonic
        async for chunk in request.stream():
            await self._intake.turns.wait(self._connector.name, min(len(chunk), MOST_IN_ROUND))
            window, until = self._begin_turn()
            # The last chunk is empty.
            for line in lines.split(chunk) if chunk else lines.end():
                if now() >= until or len(unanswered) >= window or not has_room.is_set():
                    await self._wait_for_turn(task)
                    window, until = self._begin_turn()
                if isinstance(line, Problem) or line.strip():
                    unanswered.append((lines.number, self._take_in(request, line, lines.number == 1)))
            self._note_unanswered()
            if b"\n" in chunk:
                self._intake.end(task)
            if lines.unfinished:
                self._intake.begin(task)
            self._came.set()

    @property
    def _window(self) -> int:
        return _FEW if self._intake.is_full(self._connector) else _WINDOW

    def _begin_turn(self) -> tuple[int, float]:
        """Return how many unanswered IMs end the turn that has come, and when it ends (monotonic)."""
        return self._window, time.monotonic() + MOST_SECONDS

    async def _wait_for_turn(self, task: asyncio.Task[Any]) -> None:
        """Wait until answers are taken, the agent has room, and the next turn has come."""
        self._note_unanswered()
        self._came.set()
        while True:
            if len(self._unanswered) >= self._window or not self._lane.has_room.is_set():
                self._intake.end(task)  # now it's the client that waits
            while len(self._unanswered) >= self._window:
                self._has_room.clear()
                await self._has_room.wait()
            await self._lane.has_room.wait()
            await self._intake.turns.wait(self._connector.name, MOST_IN_ROUND)
            if self._lane.has_room.is_set():
                return

    def _note_unanswered(self) -> None:
        count = len(self._unanswered)
        self._intake.note_unanswered(self._connector, count - self._noted)
        self._noted = count

    def _take_in(self, request: Request, line: bytes | Problem, first: bool) -> Receipt | Problem:
        if isinstance(line, Problem):
            return line
        try:
            im = read_submission(line.removeprefix(BOM) if first else line, self._settings)
            return self._agent.submit(im, self._connector, self._lane, self._traceparent)
        except Problem as problem:
            if problem.status in KINDS:
                self._security.refuse(request.scope, problem.status, problem.detail)
            # Both would hold the line until somebody takes the answer.
            problem.__context__ = None
            return problem.with_traceback(None)

    async def _answer(self) -> AsyncIterator[bytes]:
        """Yield answers as they become known; IMs of one confirm are answered together."""
        while self._unanswered or not self._ended:
            if not self._unanswered:
                self._came.clear()
                await self._came.wait()
                continue
            _, first = self._unanswered[0]
            if isinstance(first, Receipt):
                await first.settled()
            cost = ANSWER * min(len(self._unanswered), MOST_ANSWERS)
            await self._intake.turns.wait(self._connector.name, cost)
            yield _encoder.encode_lines(list(self._known_answers()))
            self._has_room.set()

    def _known_answers(self) -> Iterator[Answer | dict[str, Any]]:
        counts: Counter[tuple[int, str]] = Counter()
        for _ in range(min(len(self._unanswered), MOST_ANSWERS)):
            number, item = self._unanswered[0]
            if isinstance(item, Receipt) and item.fate is None:
                break
            self._unanswered.popleft()
            outcome = item if isinstance(item, Problem) else outcome_of(item, number)
            if isinstance(outcome, Problem):
                counts[outcome.status, ""] += 1
                yield {"line": number} | outcome.document()
            else:
                counts[outcome.status, outcome.rule] += 1
                yield outcome
        self._note_unanswered()
        for (status, rule), count in counts.items():
            ANSWERED.labels(status, rule).inc(count)


class LineSplitter:
    """Cuts chunks into lines; keeps nothing of a line that is too long but that it was."""

    def __init__(self, intake: Intake, connector: Connector) -> None:
        """``intake`` bounds the unfinished line."""
        self._intake = intake
        self._connector = connector
        self._rest = bytearray()
        self._problem: Problem | None = None
        """The problem of the unfinished line."""
        self.number = 0
        """The number of the last line, from 1."""

    @property
    def unfinished(self) -> bool:
        """True while a part of a line waits for the rest."""
        return bool(self._rest) or self._problem is not None

    def split(self, chunk: bytes) -> Iterator[bytes | Problem]:
        """Yield the lines that a chunk ends; in place of a line that can't be read, a Problem."""
        *lines, rest = chunk.split(b"\n")
        most, first = self._intake.most, self.unfinished
        for line in lines:
            if first:
                first = False
                yield self._end_line(line)
            else:
                self.number += 1
                yield line if len(line) <= most else self._too_long()
        if rest and self._problem is None:
            self._keep(rest)

    def end(self) -> Iterator[bytes | Problem]:
        """Yield the line that the stream's end ends, if there is one."""
        if self.unfinished:
            yield self._end_line(b"")

    def forget(self) -> None:
        """Drop the unfinished line."""
        self._intake.hold(self._connector, len(self._rest), 0)
        self._rest.clear()
        self._problem = None

    def _end_line(self, end: bytes) -> bytes | Problem:
        self.number += 1
        problem, line = self._problem, bytes(self._rest) + end
        self.forget()
        return problem or (line if len(line) <= self._intake.most else self._too_long())

    def _keep(self, part: bytes) -> None:
        size = len(self._rest) + len(part)
        if size > self._intake.most:
            problem = self._too_long()
        elif not self._intake.hold(self._connector, len(self._rest), size):
            problem = Problem(503, FULL, headers=RETRY_AFTER)
        else:
            self._rest += part  # in place: a line may come byte by byte
            return
        self.forget()
        self._problem = problem

    def _too_long(self) -> Problem:
        return Problem(413, f"the line has more than {self._intake.most} bytes")
