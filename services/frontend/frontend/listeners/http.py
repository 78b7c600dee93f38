"""``POST /v1/messages``: one IM, or a stream of them answered line by line."""

from typing import ClassVar

import msgspec
from fastapi import Request, Response
from starlette.routing import Route

from contract.message import CONTENT_TYPE as NDJSON
from contract.message import TRACEPARENT_HEADER
from frontend.listeners.listener import Listener
from frontend.listeners.openapi import MESSAGES
from frontend.listeners.reception import Reception, count_problems
from frontend.listeners.stream import Stream
from frontend.listeners.submission import read_submission
from frontend.metrics import ANSWERED
from runtime.json_text import BOM
from runtime.problem import Problem
from runtime.token import Connector

_encoder = msgspec.json.Encoder()


class HTTPListener(Listener):
    """The HTTP side of a front end: chat systems that ask themselves, Prosody among them."""

    operations: ClassVar = {"/v1/messages": {"post": MESSAGES}}

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._streams: set[Stream] = set()
        self.routes = [Route("/v1/messages", self.receive, methods=["POST"])]

    def stop(self) -> None:
        """Read streams no further: the IMs that they brought are answered, then they end."""
        for stream in self._streams:
            stream.stop()

    async def receive(self, request: Request) -> Response:
        """Answer for one IM, or open a stream: 201, 202 and 200 say that an IM may be delivered."""
        connector = self._reception.connectors.identify(request)
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type == "application/json":
            return await self._answer_one(request, connector)
        if content_type == NDJSON:
            traceparent = request.headers.get(TRACEPARENT_HEADER)
            there = self._reception
            return Stream(
                there.settings,
                there.agent,
                there.intake,
                connector,
                traceparent,
                self._streams,
                there.connectors.security,
            )
        raise Problem(
            415, f"{content_type or 'no content type'}: send application/json (one IM) or {NDJSON} (a stream)"
        )

    async def _answer_one(self, request: Request, connector: Connector) -> Response:
        reception = self._reception
        with count_problems():
            async with reception.intake.request(request, connector) as body:
                im = read_submission(body.removeprefix(BOM), reception.settings)
                traceparent = request.headers.get(TRACEPARENT_HEADER)
                outcome = await reception.take_in(im, connector, request, traceparent)
        ANSWERED.labels(outcome.status, outcome.rule).inc()
        return Response(_encoder.encode(outcome), outcome.status, media_type="application/json")
