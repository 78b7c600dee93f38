"""``POST /v1/attempts``: a connector refused what somebody's client would have said past the archive."""

import time

import msgspec
from fastapi import Request, Response
from starlette.routing import Route

from contract.address import AddressError, parse_address
from contract.cdr import Activity
from contract.conversation import conversation_of
from contract.message import time_at
from contract.sdp import UnseenKind
from frontend.agent import Agent
from frontend.config import FrontEndSettings
from frontend.listeners.connectors import Connectors
from frontend.listeners.intake import Intake
from frontend.listeners.submission import problem_of
from frontend.metrics import ATTEMPTS
from runtime.json_text import RepeatedNameError, check_names
from runtime.problem import Problem
from runtime.token import Connector


class Attempt(msgspec.Struct, forbid_unknown_fields=True):
    """An attempt of somebody's client to get past the archive."""

    sender: str
    recipient: str
    kind: UnseenKind


_decoder = msgspec.json.Decoder(Attempt)


class AttemptsListener:
    """Notes who tries to talk past the archive, so that an alert can name them."""

    def __init__(
        self, settings: FrontEndSettings, agent: Agent, connectors: Connectors, intake: Intake
    ) -> None:
        """Only a connector that may speak for the sender may say it of him."""
        self._settings = settings
        self._agent = agent
        self._connectors = connectors
        self._intake = intake
        self.route = Route("/v1/attempts", self.receive, methods=["POST"])

    async def receive(self, request: Request) -> Response:
        """Note an attempt: 204. It stands in the call detail records of the two."""
        connector = self._connectors.identify(request)
        async with self._intake.request(request, connector) as raw:
            return self._note(raw, connector)

    def _note(self, raw: bytes, connector: Connector) -> Response:
        try:
            attempt = _decoder.decode(raw)
            check_names(raw)
        except msgspec.ValidationError as error:
            raise problem_of(error) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RepeatedNameError) as error:
            raise Problem(400, str(error)) from None
        sender, recipient = _parse(attempt.sender, "/sender"), _parse(attempt.recipient, "/recipient")
        now = time_at(time.time_ns() // 1_000_000)
        activity = Activity(
            conversation=conversation_of(sender, (recipient,)),
            sender=sender,
            recipients=(recipient,),
            scope=self._agent.scope_of((sender, recipient)),
            pool=self._settings.pool,
            client=connector.name,
            first=now,
            last=now,
            attempts={attempt.kind: 1},
        )
        self._agent.note_attempt(activity, connector)
        ATTEMPTS.labels(attempt.kind).inc()
        return Response(status_code=204)


def _parse(address: str, field: str) -> str:
    try:
        return parse_address(address)
    except AddressError as error:
        raise Problem(422, str(error), field=field) from None
