"""How a service listens: connections that strangers hold open do not hold up other callers.

Any program that reaches a port can open connections and send nothing, or a byte a minute. So connections are
few enough to leave descriptors for the service's own work. Of those without a request of a known caller the
one that has waited for longest makes room for the next, and each has some seconds for its request.
"""

import asyncio
import json
import logging
import os
import resource
import socket
import time
from collections import OrderedDict
from collections.abc import MutableMapping
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from runtime.problem import MEDIA_TYPE, Problem
from runtime.safe_headers import SAFE_HEADERS, SendSafely

log = logging.getLogger("listening")

_MOST: Final = 10_000
"""Connections at most."""
_WANTED_FILES: Final = 65_536
_SHARE: Final = 2
"""One in so many descriptors may be a connection; the others are for broker, database, disk."""
_BACKLOG_SHARE: Final = 8
"""So many more may come at once: connections accepted in one go take descriptors before any is given up."""
_SECONDS: Final = 10.0
"""For a stranger's request, and for the next one."""
_LOOK_SECONDS: Final = 1.0
_MAX_HEAD: Final = 65_536
"""Bytes of a request's head, and between parts of its body."""
_MOST_PIPELINED: Final = 32
"""Requests on a connection that wait for the answer to one before them."""
_MOST_HEADERS: Final = 200
"""Of a request."""
_MANY_PARTS: Final = 1000
"""Parts of a body that come in one go."""
_SMALL: Final = 32
"""Bytes: of many parts of a body, on average, at least."""
_KNOWN: Final = "lcs.known"
_CUT: Final = "lcs.cut"
_STALLED_SECONDS: Final = 30.0
"""A reader that takes nothing of an answer for so long is cut."""


def raise_file_limit() -> None:
    """Let this process have as many descriptors as it may, as far as it can use them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(_finite(hard), _WANTED_FILES)
    if wanted > _finite(soft):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def most_connections() -> int:
    """Return how many connections this process takes, of callers and strangers together."""
    return min(_MOST, _files() // _SHARE)


def note_known(scope: MutableMapping[str, Any]) -> None:
    """Say that a request's caller is known: its connection stays as it is until the request is answered."""
    extensions = scope.get("extensions")
    if extensions is not None and _KNOWN in extensions:  # else it came on none
        extensions[_KNOWN]()


async def cut(scope: MutableMapping[str, Any]) -> None:
    """End a request's connection at once, without the rest of the answer."""
    extensions = scope.get("extensions")
    if extensions is not None and _CUT in extensions:
        extensions[_CUT]()
        await asyncio.sleep(0)  # then it has ended


def listen_with(app: Any, host: str, port: int, **settings: Any) -> uvicorn.Config:
    """Return uvicorn's settings for an application at a port; ``settings`` are further ones.

    Only proxies that the environment names set the caller's address: uvicorn alone trusts all of loopback.
    """
    strangers = _Strangers()

    class Protocol(_Protocol):
        pass

    Protocol.strangers = strangers
    return uvicorn.Config(
        SendSafely(app),
        host=host,
        port=port,
        http=Protocol,
        ws="none",
        backlog=max(1, min(2048, _files() // _BACKLOG_SHARE)),
        access_log=False,
        log_config=None,
        forwarded_allow_ips=os.environ.get("FORWARDED_ALLOW_IPS", ""),
        **settings,
    )


def _files() -> int:
    return _finite(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _finite(limit: int) -> int:
    return _WANTED_FILES if limit == resource.RLIM_INFINITY else limit


class _Strangers:
    """All connections, and since when each waits for a known caller's request."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[_Protocol, float] = OrderedDict()
        """The one that waits for longest first."""
        self._known: set[_Protocol] = set()
        self._looking = False
        self._said = -float("inf")

    def enter(self, connection: "_Protocol") -> None:
        """Take a connection; if there are too many, another makes room, or it goes itself."""
        self.wait(connection)
        if len(self._waiting) + len(self._known) > most_connections():
            self._cut()
            if time.monotonic() > self._said + 60:
                self._said = time.monotonic()
                log.warning("too many connections: those are cut that want nothing for longest")
        if not self._looking:
            self._looking = True
            connection.loop.call_later(_LOOK_SECONDS, self._look, connection)

    def wait(self, connection: "_Protocol") -> None:
        """Note that nothing of a known caller is under way on a connection from now on."""
        self._known.discard(connection)
        self._waiting[connection] = time.monotonic()
        self._waiting.move_to_end(connection)

    def note_known(self, connection: "_Protocol") -> None:
        """Note that a known caller's request is under way on it."""
        if self._waiting.pop(connection, None) is not None:
            self._known.add(connection)

    def leave(self, connection: "_Protocol") -> None:
        """Forget a connection that has ended."""
        self._waiting.pop(connection, None)
        self._known.discard(connection)

    def _cut(self) -> None:
        connection, _ = self._waiting.popitem(last=False)
        connection.transport.abort()

    def _look(self, connection: "_Protocol") -> None:
        """Cut those that have had their time."""
        past = time.monotonic() - _SECONDS
        while self._waiting and next(iter(self._waiting.values())) < past:
            self._cut()
        self._looking = bool(self._waiting)
        if self._looking:
            connection.loop.call_later(_LOOK_SECONDS, self._look, connection)


class _CostlyError(Exception):
    """Ends the parsing of a connection's bytes: to go on would take others' time."""


class _Protocol(HttpToolsProtocol):
    """A connection that says whether it is of use."""

    strangers: _Strangers
    _between = 0
    """Bytes that came since the last that were of a body."""
    _watching: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._parts: list[bytes] = []
        """Of a body, not handed on yet: one by one they would be copied again and again."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if (
            end := transport.get_extra_info("socket")
        ) is not None:  # one who is gone without a word is noticed
            end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.strangers.enter(self)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self._end_watch()
        super().resume_writing()

    def _watch(self, unsent: int) -> None:
        """Cut the reader unless it takes something in time."""

        def look() -> None:
            left = self.transport.get_write_buffer_size()
            if left < unsent:
                self._watch(left)
            else:
                self.transport.abort()

        self._watching = self.loop.call_later(_STALLED_SECONDS, look)

    def _end_watch(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_watch()
        self.strangers.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._between += len(data)
        super().data_received(data)
        self._hand_on()
        if self._between > _MAX_HEAD and not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self.send_400_response(f"A head has at most {_MAX_HEAD} bytes.")
            else:
                self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are no HTTP with a problem, unless another answer is under way."""
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.abort()
            return
        body = json.dumps(Problem(400, msg).document()).encode()
        headers = (
            *SAFE_HEADERS,
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        )
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n%b\r\n%b" % (head, body))
        self.transport.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= _MOST_HEADERS:
            raise _CostlyError
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._between = 0
        self.scope["extensions"] = {_KNOWN: self._note_known, _CUT: self._cut}  # type: ignore[dict-item]  # ours: see note_known, cut
        super().on_headers_complete()
        if len(self.pipeline) > _MOST_PIPELINED:
            self._cut()
            raise _CostlyError

    def on_body(self, body: bytes) -> None:
        self._between = 0
        parts = self._parts
        parts.append(body)
        if len(parts) % _MANY_PARTS == 0 and sum(map(len, parts)) < _SMALL * len(parts):
            self._cut()
            raise _CostlyError

    def _hand_on(self) -> None:
        if self._parts:
            body = b"".join(self._parts)
            self._parts.clear()
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._between = 0
        self._hand_on()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self.strangers.wait(self)
        super().on_response_complete()

    def _cut(self) -> None:
        self.transport.abort()

    def _note_known(self) -> None:
        self.strangers.note_known(self)
