"""``POST /v1/attempts``: a connector refused media that would have passed the archive."""

import time
from typing import ClassVar, Final, get_args

import msgspec
from fastapi import Request, Response
from starlette.routing import Route

from contract.address import AddressError, parse_address
from contract.cdr import Activity
from contract.conversation import conversation_of
from contract.message import time_at
from contract.sdp import UnseenKind
from frontend.listeners.listener import Listener, Operation
from frontend.listeners.openapi import MESSAGES
from frontend.listeners.reception import Reception
from frontend.listeners.submission import problem_of
from frontend.metrics import ATTEMPTS
from runtime.json_text import RepeatedNameError, check_names
from runtime.problem import Problem
from runtime.token import Connector

_OPERATION: Final[Operation] = {
    "summary": "Somebody tried to talk past the archive, and was refused",
    "description": "It is counted, and stands in the two people's call detail records.",
    "tags": ["messages"],
    "security": [{"connector": []}],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["sender", "recipient", "kind"],
                    "additionalProperties": False,
                    "properties": {
                        "sender": {"type": "string"},
                        "recipient": {"type": "string"},
                        "kind": {"enum": list(get_args(UnseenKind))},
                    },
                },
                "example": {
                    "sender": "yannis@contoso.com",
                    "recipient": "administrator@contoso.com",
                    "kind": "file",
                },
            }
        },
    },
    "responses": {"204": {"description": "Noted."}}
    | {
        status: MESSAGES["responses"][status]
        for status in ("400", "401", "403", "408", "413", "415", "422", "500", "503")
    },
}
"""The operation ``POST /v1/attempts``."""


class Attempt(msgspec.Struct, forbid_unknown_fields=True):
    """An attempt of a client to talk past the archive."""

    sender: str
    recipient: str
    kind: UnseenKind


_decoder = msgspec.json.Decoder(Attempt)


class AttemptsListener(Listener):
    """Notes attempts to talk past the archive, so that an alert can name the sender."""

    operations: ClassVar = {"/v1/attempts": {"post": _OPERATION}}

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self.routes = [Route("/v1/attempts", self.receive, methods=["POST"])]

    async def receive(self, request: Request) -> Response:
        """Note an attempt in the call detail records of sender and recipient; answer 204."""
        connector = self._reception.connectors.identify(request)
        async with self._reception.intake.request(request, connector) as raw:
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
            scope=self._reception.agent.scope_of((sender, recipient)),
            pool=self._reception.settings.pool,
            client=connector.name,
            first=now,
            last=now,
            attempts={attempt.kind: 1},
        )
        self._reception.agent.note_attempt(activity, connector)
        ATTEMPTS.labels(attempt.kind).inc()
        return Response(status_code=204)


def _parse(address: str, field: str) -> str:
    try:
        return parse_address(address)
    except AddressError as error:
        raise Problem(422, str(error), field=field) from None
