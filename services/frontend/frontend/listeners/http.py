"""``POST /v1/messages``: one IM, or a stream of them answered line by line."""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final
from uuid import UUID

import msgspec
from fastapi import Request, Response
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from contract.json_text import BOM
from contract.message import CONTENT_TYPE as NDJSON
from contract.message import TRACEPARENT_HEADER
from contract.problem import Problem
from contract.token import Connector
from frontend.agent import RETRY_AFTER, Agent
from frontend.config import FrontEndSettings
from frontend.listeners.connectors import Connectors
from frontend.metrics import ANSWERED
from frontend.receipt import SPOOLED, Notice, Receipt
from frontend.submission import CheckedIM, IMProblem, read_submission

_WINDOW: Final = 4000
"""IMs of a stream that are taken in and not yet answered: what bounds its memory."""

_STATUSES: Final = {"confirmed": 201, "spooled": 202, "not archived": 200}

_encoder = msgspec.json.Encoder()


class Answer(msgspec.Struct, omit_defaults=True):
    """What became of one IM; ``line`` only in a stream."""

    status: int
    id: UUID
    archived: bool
    rule: str
    scope: str
    policy_version: int
    spooled: bool = False
    line: int = 0
    notices: tuple[Notice, ...] = ()
    """To be delivered before it."""


class Listener:
    """The HTTP side of a front end."""

    def __init__(self, settings: FrontEndSettings, agent: Agent, connectors: Connectors) -> None:
        """``connectors``: the chat systems that may hand us IMs."""
        self._settings = settings
        self._agent = agent
        self._connectors = connectors
        self._streams: set[_Stream] = set()
        self.route = Route("/v1/messages", self.receive, methods=["POST"])

    def stop(self) -> None:
        """Take no more: a stream is read no further, what it brought is answered, and it ends."""
        self._connectors.stop()
        for stream in self._streams:
            stream.stop()

    async def receive(self, request: Request) -> Response:
        """May these IMs be delivered? 201, 202 and 200: yes. 503: no, not now."""
        connector = self._connectors.identify(request)
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type == "application/json":
            return await self._answer_one(request, connector)
        if content_type == NDJSON:
            traceparent = request.headers.get(TRACEPARENT_HEADER)
            return _Stream(self._settings, self._agent, connector, traceparent, self._streams)
        raise Problem(
            415, f"{content_type or 'no content type'}: send application/json (one IM) or {NDJSON} (a stream)"
        )

    async def _answer_one(self, request: Request, connector: Connector) -> Response:
        try:
            body = await read_body(request, self._settings.max_im_bytes)
            im = read_submission(body.removeprefix(BOM), self._settings)
            outcome = await take_in(self._agent, im, connector, request.headers.get(TRACEPARENT_HEADER))
        except Problem as problem:
            ANSWERED.labels(problem.status, "").inc()
            raise
        ANSWERED.labels(outcome.status, outcome.rule).inc()
        return Response(_encoder.encode(outcome), outcome.status, media_type="application/json")


async def take_in(
    agent: Agent, im: CheckedIM, connector: Connector, traceparent: str | None = None
) -> Answer:
    """Hand an IM to the agent; return what became of it once that is known. Raises Problem."""
    receipt = agent.submit(im, connector, traceparent)
    await receipt.settled()
    outcome = _outcome_of(receipt)
    if isinstance(outcome, Problem):
        raise outcome
    return outcome


async def read_body(request: Request, most: int) -> bytes:
    """Read a request to its end: who is still sending does not listen to an answer. Raises Problem."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            if len(body) <= most:
                body += chunk
    except ClientDisconnect:
        raise Problem(400, "the request ended early") from None
    if len(body) > most:
        raise Problem(413, f"the request has more than the {most} bytes that an IM may have")
    return bytes(body)


def _outcome_of(receipt: Receipt, line: int = 0) -> Answer | Problem:
    """Return what became of an IM whose ``fate`` is known; ``line`` is its place in a stream."""
    fate = receipt.fate
    assert fate is not None
    if fate.kind == "refused":
        why = f"not archived, so not to be delivered now: {fate.why}"
        return IMProblem(receipt.id, 503, why, headers=RETRY_AFTER)
    decision = receipt.decision
    return Answer(
        _STATUSES[fate.kind],
        receipt.id,
        decision.archive,
        decision.rule,
        decision.scope,
        decision.version,
        fate is SPOOLED,
        line,
        receipt.notices,
    )


class _Stream(Response):
    """A stream of IMs: read, taken in and answered at the same time, in order, in constant memory."""

    def __init__(
        self,
        settings: FrontEndSettings,
        agent: Agent,
        connector: Connector,
        traceparent: str | None,
        streams: "set[_Stream]",
    ) -> None:
        """``streams`` names it while it lasts."""
        super().__init__()
        self._settings = settings
        self._agent = agent
        self._connector = connector
        self._traceparent = traceparent
        self._streams = streams
        self._reading: asyncio.Task[None] | None = None
        self._unanswered: deque[tuple[int, Receipt | Problem]] = deque()
        self._came = asyncio.Event()
        self._room = asyncio.Event()
        self._ended = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
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

    def stop(self) -> None:
        """Read no further."""
        if self._reading is not None:
            self._reading.cancel()

    def _note_end(self, _: "asyncio.Task[None]") -> None:
        self._ended = True
        self._came.set()

    async def _read(self, request: Request) -> None:
        splitter = _LineSplitter(self._settings.max_im_bytes)
        number = 0
        with contextlib.suppress(ClientDisconnect):
            async for chunk in request.stream():
                # The last chunk is empty.
                for line in splitter.split(chunk) if chunk else splitter.end():
                    number += 1
                    if line is None or line.strip():
                        if len(self._unanswered) >= _WINDOW or not self._agent.room.is_set():
                            await self._wait_for_room()
                        self._unanswered.append((number, self._take_in(line, number == 1)))
                self._came.set()

    async def _wait_for_room(self) -> None:
        """Let the client wait: for its answers to be taken, and for the agent."""
        self._came.set()
        while len(self._unanswered) >= _WINDOW:
            self._room.clear()
            await self._room.wait()
        while not self._agent.room.is_set():
            await self._agent.room.wait()

    def _take_in(self, line: bytes | None, first: bool) -> Receipt | Problem:
        try:
            if line is None:
                raise Problem(413, f"the line has more than {self._settings.max_im_bytes} bytes")
            im = read_submission(line.removeprefix(BOM) if first else line, self._settings)
            return self._agent.submit(im, self._connector, self._traceparent)
        except Problem as problem:
            return problem

    async def _answer(self) -> AsyncIterator[bytes]:
        """Yield answers as they become known: those that wait for one confirm together."""
        while self._unanswered or not self._ended:
            if not self._unanswered:
                self._came.clear()
                await self._came.wait()
                continue
            _, first = self._unanswered[0]
            if isinstance(first, Receipt):
                await first.settled()
            yield _encoder.encode_lines(list(self._known_answers()))
            self._room.set()

    def _known_answers(self) -> Iterator[Answer | dict[str, Any]]:
        counts: Counter[tuple[int, str]] = Counter()
        while self._unanswered:
            number, item = self._unanswered[0]
            if isinstance(item, Receipt) and item.fate is None:
                break
            self._unanswered.popleft()
            outcome = item if isinstance(item, Problem) else _outcome_of(item, number)
            if isinstance(outcome, Problem):
                counts[outcome.status, ""] += 1
                yield {"line": number} | outcome.document()
            else:
                counts[outcome.status, outcome.rule] += 1
                yield outcome
        for (status, rule), count in counts.items():
            ANSWERED.labels(status, rule).inc(count)


class _LineSplitter:
    """Cuts chunks into lines; of a line that is too long it keeps nothing but the fact (None)."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rest = b""
        self._skipping = False

    def split(self, chunk: bytes) -> Iterator[bytes | None]:
        *lines, rest = (self._rest + chunk).split(b"\n")
        self._rest = b""
        for line in lines:
            skipped, self._skipping = self._skipping, False
            yield None if skipped or len(line) > self._most else line
        if self._skipping or len(rest) > self._most:
            self._skipping = True
        else:
            self._rest = rest

    def end(self) -> Iterator[bytes | None]:
        if self._skipping:
            yield None
        elif self._rest:
            yield self._rest
        self._rest, self._skipping = b"", False
