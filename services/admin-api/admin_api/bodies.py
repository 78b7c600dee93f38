"""Bodies of requests: JSON that readers read differently is refused."""

from collections.abc import Mapping
from typing import Final

from fastapi import HTTPException, Request
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contract.json_text import RepeatedNameError, check_headers, check_names
from contract.problem import MEDIA_TYPE, Problem
from contract.token import Principal, bearer_of, hash_token
from runtime.listening import note_known

_MOST: Final = 1 << 20
"""Bytes of a request that is read as a whole."""


class CheckRequests:
    """Answers 415 to a request that is compressed or not in UTF-8, before anybody reads its body.

    Of one whose token is not known here nobody reads the body; others are bounded.
    """

    def __init__(self, app: ASGIApp, principals: Mapping[str, Principal], unbounded: str) -> None:
        """``principals``: by their tokens' hashes. ``unbounded``: a path where who reads bounds it."""
        self._app = app
        self._principals = principals
        self._unbounded = unbounded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        token = bearer_of(headers.get("authorization"))
        if token is None or hash_token(token) not in self._principals:
            await self._app(scope, _empty(receive), send)
            return
        note_known(scope)
        try:
            check_headers(headers)
        except Problem as problem:
            answer = JSONResponse(problem.document(), problem.status, problem.headers, MEDIA_TYPE)
            await answer(scope, receive, send)
            return
        if scope["path"] != self._unbounded:
            receive = _bounded(receive)
        await self._app(scope, receive, send)


def _bounded(receive: Receive) -> Receive:
    size = 0

    async def receive_some() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > _MOST:
            raise HTTPException(413, f"A request has at most {_MOST} bytes.")
        return message

    return receive_some


def _empty(receive: Receive) -> Receive:
    nothing: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive_nothing() -> Message:
        if nothing:
            return nothing.pop()
        while (message := await receive())["type"] != "http.disconnect":
            pass  # nobody wants it
        return message

    return receive_nothing


async def check_json(request: Request) -> None:
    """Raise Problem (400) for JSON that has a name twice in one object."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind and not kind.endswith(("/json", "+json")):
        return
    try:
        check_names(await request.body())
    except RepeatedNameError as error:
        raise Problem(400, str(error)) from None
    except ValueError:
        return  # no JSON: FastAPI says what is wrong, if it wants some
