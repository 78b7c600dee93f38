"""``POST /v1/notices/{im}/delivered``: a connector delivered the notices that it was handed with an IM.

``…/undelivered``: it could not.
"""

from typing import ClassVar, Final
from uuid import UUID

from fastapi import Request, Response
from starlette.routing import Route

from frontend.listeners.listener import Listener, Operation
from frontend.listeners.openapi import EXAMPLE_ID, MESSAGES, problem
from frontend.listeners.reception import Reception
from runtime.problem import Problem

_DELIVERED: Final[Operation] = {
    "summary": "The notices of an IM are delivered",
    "description": "Say so once partners have them: until then they are handed over again, with an IM that"
    " comes ten seconds later, then at longer intervals.",
    "tags": ["messages"],
    "security": [{"connector": []}],
    "parameters": [
        {
            "name": "im",
            "in": "path",
            "required": True,
            "description": "the IM whose answer had the notices",
            "schema": {"type": "string", "format": "uuid"},
            "example": EXAMPLE_ID,
        }
    ],
    "responses": {
        "202": {"description": "Noted, and recorded as soon as the admin API is back."},
        "204": {"description": "Recorded: the partners were told."},
        **{status: MESSAGES["responses"][status] for status in ("401", "403", "415", "422", "500", "503")},
        "404": problem("This connector was handed no notice with this IM."),
    },
}
"""The operation ``POST /v1/notices/{im}/delivered``."""
_UNDELIVERED: Final[Operation] = _DELIVERED | {
    "summary": "The notices of an IM can't be delivered",
    "description": "Say so if they can't: partners not told yet are to be told with the next IM.",
    "responses": _DELIVERED["responses"] | {"204": {"description": "Recorded: they are taken back."}},
}
"""The operation ``POST /v1/notices/{im}/undelivered``."""


class NoticesListener(Listener):
    """Notes of the notices that a connector was handed if they were delivered."""

    operations: ClassVar = {
        "/v1/notices/{im}/delivered": {"post": _DELIVERED},
        "/v1/notices/{im}/undelivered": {"post": _UNDELIVERED},
    }

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self.routes = [
            Route("/v1/notices/{im}/delivered", self.receive_delivered, methods=["POST"]),
            Route("/v1/notices/{im}/undelivered", self.receive_undelivered, methods=["POST"]),
        ]

    async def receive_delivered(self, request: Request) -> Response:
        """Note that the partners were told; answer 204 if that is recorded, 202 if it will be."""
        return await self._receive(request, delivered=True)

    async def receive_undelivered(self, request: Request) -> Response:
        """Note that the partners could not be told, and are to be with the next IM; answer 204 or 202."""
        return await self._receive(request, delivered=False)

    async def _receive(self, request: Request, *, delivered: bool) -> Response:
        connector = self._reception.connectors.identify(request)
        try:
            im = UUID(request.path_params["im"])
        except ValueError:
            why = "not the id of an IM: it is in the answer that had the notices"
            raise Problem(422, why, field="im") from None
        async with self._reception.intake.request(request, connector):
            return await self._reception.note_delivery(im, connector, delivered=delivered)
