"""What is no HTTP is answered as any other mistake is."""

import asyncio
import contextlib
import json
import socket
from http.client import HTTPMessage, parse_headers
from io import BytesIO

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from runtime.listening import listen_with
from runtime.safe_headers import SAFE_HEADERS

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def answer_half(_: Scope, receive: Receive, send: Send) -> None:
    """Begin an answer that ends with the connection."""
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass


async def heard(*said: bytes) -> bytes:
    """Return all that is answered; each further thing is said once something was."""
    with socket.create_server(("127.0.0.1", 0)) as at:
        server = uvicorn.Server(listen_with(answer_half, "127.0.0.1", 0, lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[at]))
        reader, writer = await asyncio.open_connection(*at.getsockname())
        answer = b""
        async with asyncio.timeout(60):
            with contextlib.suppress(ConnectionError):
                for each in said:
                    writer.write(each)
                    answer += await reader.read(65_536)
                answer += await reader.read()
        writer.close()
        server.should_exit = True
        await serving
        return answer


def parts_of(answer: bytes) -> tuple[bytes, HTTPMessage, bytes]:
    """Return an answer's status line, headers and body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, _, headers = head.partition(b"\r\n")
    return status, parse_headers(BytesIO(headers + b"\r\n\r\n")), body


@pytest.mark.parametrize(
    "said", [b"\x16\x03\x01 no HTTP\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000], ids=["TLS", "long"]
)
def test_what_is_no_http_is_a_problem_too(said: bytes) -> None:
    status, headers, body = parts_of(asyncio.run(heard(said)))
    assert status == b"HTTP/1.1 400 Bad Request"
    assert headers["Content-Type"] == "application/problem+json"
    assert SAFE_HEADERS and {(name, headers[name.decode()].encode()) for name, _ in SAFE_HEADERS} == {
        *SAFE_HEADERS
    }
    assert json.loads(body)["status"] == 400


def test_an_answer_that_has_begun_has_no_other_in_it() -> None:
    answer = asyncio.run(heard(GET, b"\x16\x03\x01 no HTTP\r\n\r\n"))
    assert answer.startswith(b"HTTP/1.1 200")
    assert b" 400 " not in answer
