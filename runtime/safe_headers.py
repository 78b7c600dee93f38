"""Headers of every answer: no cache stores it, no browser guesses its type, frames it or runs it."""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

SAFE_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


class SendSafely:
    """ASGI middleware, the outermost: adds ``SAFE_HEADERS`` that an answer does not bring itself."""

    def __init__(self, app: ASGIApp) -> None:
        """``app``: the application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve; errors that nothing else caught are answered within."""

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                names = {name for name, _ in headers}
                message["headers"] = [*headers, *(pair for pair in SAFE_HEADERS if pair[0] not in names)]
            await send(message)

        await self._app(scope, receive, send_safely if scope["type"] == "http" else send)
