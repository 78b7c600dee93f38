"""A caller who stops reading an answer is cut, and one who reads slowly is not."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from runtime import listening

PART = b"x" * 65_536
PARTS = 400
"""More than two sockets hold."""


def test_a_caller_who_stops_reading_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "_STALLED_SECONDS", 0.1)
    ended = asyncio.Event()

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _part in range(PARTS):
            await send({"type": "http.response.body", "body": PART, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        ended.set()

    async def stall() -> int:
        with socket.create_server(("127.0.0.1", 0)) as at:
            server = uvicorn.Server(listening.listen_with(app, "127.0.0.1", 0, lifespan="off"))
            serving = asyncio.create_task(server.serve(sockets=[at]))
            reader, writer = await asyncio.open_connection(*at.getsockname(), limit=4096)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(60):
                await ended.wait()
            size = 0
            with contextlib.suppress(ConnectionError):
                while some := await reader.read(65_536):
                    size += len(some)
            writer.close()
            server.should_exit = True
            await serving
            return size

    assert asyncio.run(stall()) < PARTS * len(PART)


class _Stand:
    """Transport and event loop of a connection."""

    def __init__(self) -> None:
        self.unsent = 0
        self.aborted = False
        self.looks: list[Callable[[], None]] = []

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def abort(self) -> None:
        self.aborted = True

    def call_later(self, _: float, look: Callable[[], None]) -> None:
        self.looks.append(look)


def test_a_caller_who_reads_slowly_is_not_cut() -> None:
    stand = _Stand()
    connection: Any = listening._Protocol.__new__(listening._Protocol)
    connection.transport = connection.loop = stand
    connection._watch(100)
    for stand.unsent in (99, 50, 1):
        stand.looks.pop()()
        assert not stand.aborted
    stand.looks.pop()()
    assert stand.aborted
