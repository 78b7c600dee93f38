"""``POST /v1/notices/{im}/delivered``: a connector's word of the notices that it was handed with an IM.

``…/undelivered``: they could not be.
"""

from uuid import UUID

from fastapi import Request, Response
from starlette.routing import Route

from frontend.listeners.connectors import Connectors
from frontend.listeners.intake import Intake
from frontend.policy.disclaimers import Disclaimers
from runtime.problem import Problem


class NoticesListener:
    """Hears whether partners were told."""

    def __init__(self, disclaimers: Disclaimers, connectors: Connectors, intake: Intake) -> None:
        """Only who was handed a notice may say what became of it."""
        self._disclaimers = disclaimers
        self._connectors = connectors
        self._intake = intake
        self.routes = [
            Route("/v1/notices/{im}/delivered", self.receive_delivered, methods=["POST"]),
            Route("/v1/notices/{im}/undelivered", self.receive_undelivered, methods=["POST"]),
        ]

    async def receive_delivered(self, request: Request) -> Response:
        """Note that the partners were told: 204 if that is recorded, 202 if it will be."""
        return await self._receive(request, delivered=True)

    async def receive_undelivered(self, request: Request) -> Response:
        """Note that they could not be told, and are to be with the next IM: 204 or 202 as above."""
        return await self._receive(request, delivered=False)

    async def _receive(self, request: Request, *, delivered: bool) -> Response:
        connector = self._connectors.identify(request)
        try:
            im = UUID(request.path_params["im"])
        except ValueError:
            why = "not the id of an IM: it is in the answer that had the notices"
            raise Problem(422, why, field="im") from None
        async with self._intake.request(request, connector):
            return await note_delivery(self._disclaimers, im, connector.name, delivered=delivered)


async def note_delivery(disclaimers: Disclaimers, im: UUID, connector: str, *, delivered: bool) -> Response:
    """Note whether a connector delivered what it was handed with an IM. Raises Problem (404)."""
    note = disclaimers.confirm if delivered else disclaimers.retract
    try:
        recorded = await note(im, connector)
    except LookupError:
        raise Problem(404, f"connector {connector!r} was handed no notice with this IM", field="im") from None
    return Response(status_code=204 if recorded else 202)
