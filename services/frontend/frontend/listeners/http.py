"""``POST /v1/messages``: one IM, or a stream of them answered line by line."""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Final
from uuid import UUID

import msgspec
from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from contract.message import CONTENT_TYPE as NDJSON
from contract.problem import Problem
from contract.token import Connector, bearer_of, hash_token
from frontend.agent import RETRY_AFTER, Agent, Receipt
from frontend.config import FrontEndSettings
from frontend.listeners.openapi import MESSAGES
from frontend.metrics import ANSWERED
from frontend.submission import IMProblem, read_submission

_WINDOW: Final = 2000
"""IMs of a stream that are taken in and not yet answered: what bounds its memory."""

_encoder = msgspec.json.Encoder()


class Answer(msgspec.Struct, omit_defaults=True):
    """What became of one IM; ``line`` only in a stream."""

    status: int
    id: UUID
    archived: bool
    rule: str
    scope: str
    policy_version: int
    line: int = 0


class Listener:
    """The HTTP side of a front end."""

    def __init__(self, settings: FrontEndSettings, agent: Agent, connectors: Iterable[Connector]) -> None:
        """``connectors``: the chat systems that may hand us IMs."""
        self._settings = settings
        self._agent = agent
        self._connectors = {connector.hash: connector for connector in connectors}
        self._streams: set[_Stream] = set()
        self._stopping = False
        self.router = APIRouter()
        self.router.add_api_route("/v1/messages", self.receive, methods=["POST"], **MESSAGES)

    def stop(self) -> None:
        """Take no more: a stream is read no further, what it brought is answered, and it ends."""
        self._stopping = True
        for stream in self._streams:
            stream.stop()

    async def receive(self, request: Request) -> Response:
        """May these IMs be delivered? 201 and 200: yes. 503: no, not now."""
        if self._stopping:
            raise Problem(503, "this front end stops: send it to another", headers=RETRY_AFTER)
        connector = self._identify(request)
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type == "application/json":
            return await self._answer_one(request, connector)
        if content_type == NDJSON:
            return _Stream(self._settings, self._agent, connector, self._streams)
        raise Problem(
            415, f"{content_type or 'no content type'}: send application/json (one IM) or {NDJSON} (a stream)"
        )

    def _identify(self, request: Request) -> Connector:
        token = bearer_of(request.headers.get("authorization"))
        connector = self._connectors.get(hash_token(token)) if token is not None else None
        if connector is None:
            raise Problem(
                401,
                "send a connector's token: Authorization: Bearer …",
                headers={"WWW-Authenticate": "Bearer"},
            )
        if connector.pool != self._settings.pool:
            raise Problem(
                403,
                f"connector {connector.name!r} is of {connector.pool}, this front end is of"
                f" {self._settings.pool}",
            )
        return connector

    async def _answer_one(self, request: Request, connector: Connector) -> Response:
        try:
            im = read_submission(await self._read_body(request), self._settings)
            receipt = self._agent.submit(im, connector)
            if receipt.safe is not None:
                # A client that goes away takes nothing back: the IM is on its way.
                await asyncio.shield(receipt.safe)
            outcome = _outcome_of(receipt)
            if isinstance(outcome, Problem):
                raise outcome
        except Problem as problem:
            ANSWERED.labels(problem.status, "").inc()
            raise
        ANSWERED.labels(outcome.status, outcome.rule).inc()
        return Response(_encoder.encode(outcome), outcome.status, media_type="application/json")

    async def _read_body(self, request: Request) -> bytes:
        """Read a request to its end: who is still sending does not listen to an answer."""
        most = self._settings.max_im_bytes
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
    """Return what became of an IM whose ``safe`` is done; ``line`` is its place in a stream."""
    if receipt.safe is not None and (why := receipt.safe.result()):
        why = f"not archived, so not to be delivered now: {why}"
        return IMProblem(receipt.id, 503, why, headers=RETRY_AFTER)
    decision = receipt.decision
    status = 201 if decision.archive else 200
    return Answer(status, receipt.id, decision.archive, decision.rule, decision.scope, decision.version, line)


class _Stream(Response):
    """A stream of IMs: read, taken in and answered at the same time, in order, in constant memory."""

    def __init__(
        self, settings: FrontEndSettings, agent: Agent, connector: Connector, streams: "set[_Stream]"
    ) -> None:
        """``streams`` names it while it lasts."""
        super().__init__()
        self._settings = settings
        self._agent = agent
        self._connector = connector
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
                        self._unanswered.append((number, self._take_in(line)))
                self._came.set()

    async def _wait_for_room(self) -> None:
        """Let the client wait: for its answers to be taken, and for the agent."""
        self._came.set()
        while len(self._unanswered) >= _WINDOW:
            self._room.clear()
            await self._room.wait()
        while not self._agent.room.is_set():
            await self._agent.room.wait()

    def _take_in(self, line: bytes | None) -> Receipt | Problem:
        try:
            if line is None:
                raise Problem(413, f"the line has more than {self._settings.max_im_bytes} bytes")
            return self._agent.submit(read_submission(line, self._settings), self._connector)
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
            if isinstance(first, Receipt) and first.safe is not None:
                await asyncio.shield(first.safe)
            yield b"".join(self._known_answers())
            self._room.set()

    def _known_answers(self) -> Iterator[bytes]:
        counts: Counter[tuple[int, str]] = Counter()
        while self._unanswered:
            number, item = self._unanswered[0]
            if isinstance(item, Receipt) and item.safe is not None and not item.safe.done():
                break
            self._unanswered.popleft()
            outcome = item if isinstance(item, Problem) else _outcome_of(item, number)
            if isinstance(outcome, Problem):
                counts[outcome.status, ""] += 1
                yield _encoder.encode({"line": number} | outcome.document()) + b"\n"
            else:
                counts[outcome.status, outcome.rule] += 1
                yield _encoder.encode(outcome) + b"\n"
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
