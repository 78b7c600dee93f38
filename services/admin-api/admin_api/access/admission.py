"""Admission: each request's token, role, question and body are checked before a route sees it.

They are checked in this order. No byte of a body is read before the caller is known and allowed.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from admin_api.access.bulkheads import Bulkheads
from admin_api.access.principals import choose_role, find_principal
from admin_api.access.roles import ALLOWED, Role
from admin_api.http.feature import Endpoint, Limits
from admin_api.http.questions import check_question
from runtime.json_text import RepeatedNameError, check_headers, check_names
from runtime.listening import note_known
from runtime.problem import Problem, answer_of
from runtime.token import Principal

_MOST: Final = 64 << 10
"""Bytes of a JSON body, unless its route has a limit of its own."""
_AT_ONCE: Final = 4 << 10
"""Bytes of a body that are parsed on the event loop.

The worst bodies tried took 40 ms at 64 KiB and 1.3 s at 1 MiB. Larger bodies than this are parsed in a
thread, and only for callers that have a place, so that other callers get their turns.
"""
LARGE: Final = 1 << 20
"""Bytes of a body that names many people, domains or agents. It is read in a thread."""
_MOST_UNFINISHED: Final = 16 << 20
"""Bytes of unfinished bodies of one principal."""
_SECONDS: Final = 60.0
"""Seconds for a body from its first byte to its last; each ``_PACE`` bytes give a second more."""
_PACE: Final = 64 << 10


@dataclass(frozen=True)
class Door:
    """A route with its conditions: the roles that may use it, and the body that it takes."""

    route: APIRoute
    roles: Sequence[Role]
    most: int
    """Bytes of a body; 0: the route takes none."""
    whole: bool
    """The body is a JSON document."""
    is_placeless: bool
    """True: a request needs no place in a bulkhead."""

    @property
    def for_front_ends(self) -> bool:
        """True: the route is for front ends, and not for people."""
        return "frontend" in self.roles


def make_door(route: APIRoute, limits: Limits, placeless: Container[Endpoint]) -> Door:
    """Return the door of a route. Raises KeyError if ``access.roles`` has no entry for it.

    ``limits``, ``placeless``: see ``http.feature``.
    """
    whole = route.body_field is not None
    most = limits.get(route.endpoint, _MOST if whole else 0)
    method = "".join(route.methods or ())  # FastAPI makes a route for each
    return Door(route, ALLOWED[method, route.path_format], most, whole, route.endpoint in placeless)


class Admit:
    """ASGI middleware that refuses requests without a right to their route, and bounds the bodies of others.

    An admitted request has its caller, in the role that allows it, as ``state.actor``.
    """

    def __init__(
        self,
        app: ASGIApp,
        doors: Sequence[Door],
        principals: Mapping[str, Principal],
        bulkheads: Bulkheads,
    ) -> None:
        """``principals``: by their tokens' hashes."""
        self._app = app
        self._doors = doors
        self._bulkheads = bulkheads
        self._principals = principals
        self._unfinished: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that may come in; answer the others."""
        door = self._find_door(scope) if scope["type"] == "http" else None
        if door is None:
            await self._app(scope, receive if scope["type"] != "http" else _empty(receive), send)
            return
        scope["route"] = door.route  # for whoever counts requests: a refused one comes no further
        try:
            receive, document = await self._admit(door, scope, receive)
            leave = await self._enter(door, scope)
            try:
                await _check(document)
            except BaseException:
                leave()
                raise
        except Problem as problem:
            await answer_of(problem)(scope, receive, send)
            return
        except _GoneError:
            return
        app = _aside(self._app) if scope["state"]["large"] else self._app
        try:
            await app(scope, receive, _leaving(send, leave))
        finally:
            leave()

    def _find_door(self, scope: Scope) -> Door | None:
        doors = (door for door in self._doors if door.route.matches(scope)[0] is Match.FULL)
        return next(doors, None)

    async def _admit(self, door: Door, scope: Scope, receive: Receive) -> tuple[Receive, bytes]:
        """Return the source of the request's body, and the JSON to be checked, which may be empty.

        Raises Problem, _GoneError.
        """
        headers = Headers(scope=scope)
        principal = find_principal(self._principals, headers.get("authorization"))
        scope.setdefault("state", {})["actor"] = choose_role(principal, door.roles)
        note_known(scope)
        check_headers(headers)
        check_question(scope, door.route)
        scope["state"]["large"] = False
        if not door.most:
            return _empty(receive), b""
        receive = _bounded(receive, door.most)
        if not door.whole:
            return receive, b""
        body = await self._read(principal, receive)
        scope["state"]["large"] = len(body) > _AT_ONCE
        return _whole(body, receive), body if _is_json(headers) else b""

    async def _enter(self, door: Door, scope: Scope) -> Callable[[], None]:
        """Take a place for a request; return a function that gives it back once. Raises Problem."""
        bulkhead = self._bulkheads.front_ends if door.for_front_ends else self._bulkheads.people
        scope["state"]["bulkhead"] = bulkhead
        name: str = scope["state"]["actor"].name
        places = [] if door.is_placeless else [name]
        for place in places:
            await bulkhead.enter(place)

        def leave() -> None:
            while places:
                bulkhead.leave(places.pop())

        return leave

    async def _read(self, principal: Principal, receive: Receive) -> bytes:
        body = bytearray()
        try:
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _GoneError
                chunk = message.get("body", b"")
                more = message.get("more_body", False)
                if more and self._unfinished[principal.name] + len(chunk) > _MOST_UNFINISHED:
                    raise Problem(
                        503, "Too many requests of yours are unfinished.", headers={"Retry-After": "5"}
                    )
                body += chunk
                self._unfinished[principal.name] += len(chunk)
        finally:
            self._unfinished[principal.name] -= len(body)
        return bytes(body)


class _GoneError(Exception):
    """Raised when a caller went away while sending: there is no one left to answer."""


def _aside(app: ASGIApp) -> ASGIApp:
    """Return an application that serves a request in a thread, by an event loop of its own.

    FastAPI parses a body on the loop that it runs in; a large body would hold up all other requests.
    """

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        async def serve_alone() -> None:
            await app(scope, receive, keep)

        await asyncio.to_thread(asyncio.run, serve_alone())
        for message in answer:
            await send(message)

    return serve


def _leaving(send: Send, leave: Callable[[], None]) -> Send:
    """Return a ``send`` that gives the place back before it sends a whole answer: its reader may be slow."""

    async def send_some(message: Message) -> None:
        if message["type"] == "http.response.start" and b"content-length" in dict(message["headers"]):
            leave()
        await send(message)

    return send_some


def _bounded(receive: Receive, most: int) -> Receive:
    """Return a body's source that raises Problem: 413 above ``most`` bytes, 408 for a slow body."""
    size = 0
    begun = asyncio.get_running_loop().time()

    async def receive_some() -> Message:
        nonlocal size
        try:
            async with asyncio.timeout_at(begun + _SECONDS + size / _PACE):
                message = await receive()
        except TimeoutError:
            raise Problem(408, "The request's body came too slowly.") from None
        size += len(message.get("body", b""))
        if size > most:
            raise Problem(413, f"A request to this path has at most {most} bytes.")
        return message

    return receive_some


def _whole(body: bytes, receive: Receive) -> Receive:
    """Return a source that gives the whole body in one message, and after it the caller's disconnect."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_whole() -> Message:
        return messages.pop() if messages else await receive()

    return receive_whole


def _empty(receive: Receive) -> Receive:
    """Return a source that gives no body, and drops every byte that the caller sends."""

    async def receive_end() -> Message:
        while (message := await receive())["type"] != "http.disconnect":
            pass  # nobody wants it
        return message

    return _whole(b"", receive_end)


def _is_json(headers: Headers) -> bool:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return not kind or kind.endswith(("/json", "+json"))


async def _check(body: bytes) -> None:
    """Raise Problem (400) if the body is not JSON in UTF-8, or if an object in it has a name twice."""
    if not body:
        return  # there may be none
    try:
        if len(body) > _AT_ONCE:
            await asyncio.to_thread(check_names, body)
        else:
            check_names(body)
    except RepeatedNameError as error:
        raise Problem(400, str(error)) from None
    except ValueError as error:
        raise Problem(400, f"The body is no JSON in UTF-8: {error}") from None
