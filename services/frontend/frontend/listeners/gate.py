"""The gate: every request begins in its caller's turn."""

from starlette.types import ASGIApp, Receive, Scope, Send

from frontend.listeners.connectors import Connectors
from frontend.listeners.turns import MOST_IN_ROUND, REQUEST, ROUND, STRANGERS, Turns
from runtime.listening import note_known


class Gate:
    """ASGI middleware, outside all others."""

    def __init__(self, app: ASGIApp, connectors: Connectors, turns: Turns) -> None:
        self._app = app
        self._connectors = connectors
        self._turns = turns

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            connector = self._connectors.find(scope)
            if connector is not None:
                note_known(scope)
                # What is read, and brings no IM, is one in a round: metrics, say, take long.
                cost = MOST_IN_ROUND if scope["method"] == "GET" else REQUEST
                await self._turns.wait(connector.name, cost)
                scope[ROUND] = self._turns.round
            else:
                await self._turns.wait(STRANGERS, MOST_IN_ROUND)
        await self._app(scope, receive, send)
