"""``POST /v1/notices/{im}/delivered``: a connector delivered the notices that it was handed with an IM."""

from uuid import UUID

from fastapi import Request, Response
from starlette.routing import Route

from contract.problem import Problem
from frontend.disclaimers import Disclaimers
from frontend.listeners.connectors import Connectors


class NoticesListener:
    """Hears that partners were told."""

    def __init__(self, disclaimers: Disclaimers, connectors: Connectors) -> None:
        """Only who was handed a notice may say that it is delivered."""
        self._disclaimers = disclaimers
        self._connectors = connectors
        self.route = Route("/v1/notices/{im}/delivered", self.receive, methods=["POST"])

    async def receive(self, request: Request) -> Response:
        """Note that the partners were told: 204 if that is recorded, 202 if it will be."""
        connector = self._connectors.identify(request)
        try:
            im = UUID(request.path_params["im"])
        except ValueError:
            why = "not the id of an IM: it is in the answer that had the notices"
            raise Problem(422, why, field="im") from None
        return await note_delivery(self._disclaimers, im, connector.name)


async def note_delivery(disclaimers: Disclaimers, im: UUID, connector: str) -> Response:
    """Note that a connector delivered what it was handed with an IM. Raises Problem (404)."""
    try:
        recorded = await disclaimers.confirm(im, connector)
    except LookupError:
        raise Problem(404, f"connector {connector!r} was handed no notice with this IM", field="im") from None
    return Response(status_code=204 if recorded else 202)
