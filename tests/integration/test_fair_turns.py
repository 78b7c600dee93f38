"""Fair turns: whatever one connector does, another's single IM is answered 201."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import Vhost
from tests.integration.frontend_service import GATEWAY, IM, FrontEnd

_STREAM = (
    b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n"
    b"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_HALF = (
    b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n"
    b"Content-Type: application/json\r\nContent-Length: 200000\r\n\r\n"
)
_LINE = json.dumps(IM).encode() + b"\n"
_LARGE = json.dumps(IM | {"body": "x" * 60_000}).encode() + b"\n"


def _chunked(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


@contextlib.contextmanager
def _flood(port: int, connections: int, head: bytes, again: bytes, *, reads: bool) -> Iterator[None]:
    """Send on so many connections as fast as they take it, while it lasts."""
    ended, flowing = threading.Event(), threading.Barrier(connections + 1)

    def send(connection: socket.socket) -> None:
        connection.sendall(head + again)
        flowing.wait()
        with contextlib.suppress(OSError):
            while not ended.is_set():
                connection.sendall(again)

    def read(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while connection.recv(1 << 20):
                pass

    with contextlib.ExitStack() as stack:
        sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
        threads = [threading.Thread(target=send, args=[each]) for each in sockets]
        threads += [threading.Thread(target=read, args=[each]) for each in sockets if reads]
        for each in sockets:
            stack.callback(each.close)
            stack.callback(each.shutdown, socket.SHUT_RDWR)
        stack.callback(ended.set)
        for thread in threads:
            thread.start()
        flowing.wait(60)
        yield
    for thread in threads:
        thread.join(30)


@pytest.mark.parametrize(
    ("head", "again", "reads"),
    [
        (_STREAM, _chunked(_LINE * 1000), False),
        (_STREAM, _chunked(_LINE * 1000), True),
        (_STREAM, _chunked(b"x\n" * 5000), True),
        (_STREAM, _chunked(_LARGE * 5), True),
        (_HALF, b"x", False),
    ],
    ids=["unread", "full speed", "junk", "large", "half-sent"],
)
def test_an_im_is_answered_whatever_another_connector_sends(
    vhost: Vhost, start: Callable[..., FrontEnd], head: bytes, again: bytes, reads: bool
) -> None:
    front_end = start(vhost.url("frontend"), LCS_MAX_PENDING="2000", LCS_DEADLINE_SECONDS="20")
    front_end.wait_until_ready()
    with _flood(front_end.port, 20, head, again, reads=reads):
        answers = [front_end.post(IM, **GATEWAY).status_code for _ in range(5)]
    assert answers == [201] * 5
