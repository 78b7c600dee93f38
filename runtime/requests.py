"""Requests that can be told apart: each has an id of ours, and the security log has each that is refused."""

import logging
from typing import Final

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contract.message import make_id
from runtime.current_request import CURRENT, ID_HEADER, ServedRequest
from runtime.problem import MEDIA_TYPE, Problem
from runtime.security import KINDS, SecurityLog

log = logging.getLogger("requests")

_ID: Final = ID_HEADER.lower().encode()


class NameRequests:
    """ASGI middleware, around all others: gives each request an id, and has refusals logged.

    The id is always ours: a caller's could be another request's, or forge a line of a log.
    """

    def __init__(self, app: ASGIApp, security: SecurityLog) -> None:
        """``app``: the application."""
        self._app = app
        self._security = security

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] != "http":
            try:
                await self._app(scope, receive, send)
            finally:
                self._security.sum_up()
            return
        host, _ = scope.get("client") or ("", 0)
        request = ServedRequest(make_id(), client=host)
        token = CURRENT.set(request)
        status = 0

        async def name(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (_ID, str(request.id).encode())]
            await send(message)

        try:
            await self._app(scope, receive, name)
        except Exception:
            if status:
                raise
            log.exception("a request could not be served")
            problem = Problem(500, f"This is a mistake of ours: the log has it under request {request.id}.")
            await JSONResponse(problem.document(), 500, media_type=MEDIA_TYPE)(scope, receive, name)
        finally:
            if status in KINDS:
                self._security.refuse(scope, status)
            CURRENT.reset(token)
