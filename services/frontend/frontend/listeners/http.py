"""``POST /v1/messages``: one IM, or a stream of them answered line by line."""

import contextlib

import msgspec
from fastapi import Request, Response
from starlette.routing import Route

from contract.message import CONTENT_TYPE as NDJSON
from contract.message import TRACEPARENT_HEADER
from frontend.agent import Agent
from frontend.config import FrontEndSettings
from frontend.im import CheckedIM
from frontend.listeners.answer import Answer, outcome_of
from frontend.listeners.connectors import Connectors
from frontend.listeners.intake import Intake
from frontend.listeners.stream import Stream
from frontend.listeners.submission import read_submission
from frontend.metrics import ANSWERED
from runtime.json_text import BOM
from runtime.problem import Problem
from runtime.token import Connector

_encoder = msgspec.json.Encoder()


class Listener:
    """The HTTP side of a front end."""

    def __init__(
        self, settings: FrontEndSettings, agent: Agent, connectors: Connectors, intake: Intake
    ) -> None:
        """``connectors``: the chat systems that may hand us IMs; ``intake``: for what they send."""
        self._settings = settings
        self._agent = agent
        self._connectors = connectors
        self._intake = intake
        self._streams: set[Stream] = set()
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
            security = self._connectors.security
            return Stream(
                self._settings, self._agent, self._intake, connector, traceparent, self._streams, security
            )
        raise Problem(
            415, f"{content_type or 'no content type'}: send application/json (one IM) or {NDJSON} (a stream)"
        )

    async def _answer_one(self, request: Request, connector: Connector) -> Response:
        try:
            async with self._intake.request(request, connector) as body:
                im = read_submission(body.removeprefix(BOM), self._settings)
                traceparent = request.headers.get(TRACEPARENT_HEADER)
                outcome = await take_in(self._agent, im, connector, request, traceparent)
        except Problem as problem:
            ANSWERED.labels(problem.status, "").inc()
            raise
        ANSWERED.labels(outcome.status, outcome.rule).inc()
        return Response(_encoder.encode(outcome), outcome.status, media_type="application/json")


async def take_in(
    agent: Agent, im: CheckedIM, connector: Connector, request: Request, traceparent: str | None = None
) -> Answer:
    """Hand a request's IM to the agent; return what became of it once that is known. Raises Problem."""
    receipt = agent.submit(im, connector, agent.lane_of(connector), traceparent)
    await receipt.settled()
    outcome = outcome_of(receipt)
    if isinstance(outcome, Problem):
        raise outcome
    if outcome.notices and await request.is_disconnected():
        with contextlib.suppress(LookupError):  # nobody gets this answer, and so its notices
            await agent.disclaimers.retract(outcome.id, connector.name)
    return outcome
