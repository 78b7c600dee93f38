"""What strangers hold open holds up nobody: connections without a request, heads that never end."""

import contextlib
import json
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from contract.topology import QUEUE
from deploy.local.process import Process, find_free_port, wait_for
from tests.conftest import ArchiveDatabase, Vhost
from tests.integration.admin.conftest import NO_BROKER, write_principals
from tests.integration.conftest import BrokerLine
from tests.integration.frontend_service import IM, TOKEN, FrontEnd, ims_of

FILES = 256
STRANGERS = 400


HASTY = "import runtime.listening as listening; listening._SECONDS = 3.0\n"
"""A patch: who says nothing is cut soon."""


def _open(port: int, said: bytes = b"") -> socket.socket:
    connection = _connect(port)
    if said:
        with contextlib.suppress(OSError):
            connection.sendall(said)
    return connection


def _connect(port: int) -> socket.socket:
    """Connect; where the queue of a listener is full, Linux would try again only after a second."""
    while True:
        with contextlib.suppress(TimeoutError):
            connection = socket.create_connection(("127.0.0.1", port), timeout=0.02)
            connection.settimeout(20)
            return connection


@contextlib.contextmanager
def _strangers(port: int, said: bytes = b"") -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(_open(port, said)) for _ in range(STRANGERS)]


def _files_of(process: Process) -> int:
    return len(list(Path(f"/proc/{process.popen.pid}/fd").iterdir()))


FEW_FILES = ["prlimit", f"--nofile={FILES}"]


@pytest.mark.parametrize(
    "said", [b"", b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nX-Long: "], ids=["idle", "slow"]
)
def test_an_im_is_archived_whatever_strangers_hold_open(
    vhost: Vhost, line: BrokerLine, start: Callable[..., FrontEnd], said: bytes
) -> None:
    front_end = start(line.url, under=FEW_FILES)
    front_end.wait_until_ready()
    with (
        _client(front_end.port, TOKEN) as client,
        _strangers(front_end.port, said),
        _strangers(front_end.port, said),
    ):
        assert client.post("/v1/messages", json=IM).status_code == httpx.codes.CREATED
        line.cut()
        wait_for(lambda: front_end.http.get("/readyz").json()["state"] == "blocking", "the broker's end seen")
        line.mend()
        with _strangers(front_end.port, said):
            front_end.wait_until_ready()
            assert client.post("/v1/messages", json=IM).status_code == httpx.codes.CREATED
        assert _files_of(front_end.process) < FILES
    assert front_end.process.alive
    assert front_end.process.stop(signal.SIGTERM) == 0
    assert len(ims_of(vhost.take(QUEUE))) == 2


def test_connections_that_bring_nothing_are_ended(vhost: Vhost, start: Callable[..., FrontEnd]) -> None:
    front_end = start(vhost.url("frontend"), patch=HASTY)
    with _open(front_end.port) as idle, _open(front_end.port, b"POST /v1/messages HTTP/1.1\r\nHost") as slow:
        assert idle.recv(1) == b""
        with contextlib.suppress(ConnectionResetError):
            assert slow.recv(1) == b""


def test_a_stream_on_which_nothing_is_said_is_not_ended(vhost: Vhost, start: Callable[..., FrontEnd]) -> None:
    front_end = start(vhost.url("frontend"), patch=HASTY)
    front_end.wait_until_ready()
    head = (
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n"
        b"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    line = json.dumps(IM).encode() + b"\n"
    with _open(front_end.port, head) as stream, _open(front_end.port) as idle:
        assert idle.recv(1) == b""  # it had its time, and the stream that as well
        stream.sendall(b"%x\r\n%s\r\n" % (len(line), line))
        heard = b""
        while b'"archived":true' not in heard:
            received = stream.recv(65_536)
            assert received
            heard += received


@pytest.mark.parametrize(
    "endless",
    [
        b"GET /%s",
        b"GET / HTTP/1.1\r\nX: %s",
        b"GET / HTTP/1.1\r\n%s: x",
        b"POST /v1/messages HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX: %s",
    ],
    ids=["target", "value", "name", "trailer"],
)
def test_a_head_without_end_is_not_kept(front_end: FrontEnd, endless: bytes) -> None:
    before, _, _ = endless.partition(b"%s")
    with _open(front_end.port, before) as connection, pytest.raises(OSError):
        for _ in range(2000):
            connection.sendall(b"a" * 65_536)


@pytest.mark.parametrize(
    ("said", "answers"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 1000, 40),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 1000 + b"\r\n", 0),
        (
            b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 5000,
            0,
        ),
    ],
    ids=["pipelined requests", "headers", "tiny parts"],
)
def test_a_connection_that_costs_more_than_it_brings_is_ended(
    front_end: FrontEnd, said: bytes, answers: int
) -> None:
    heard = b""
    with _open(front_end.port, said) as connection, contextlib.suppress(ConnectionResetError):
        while received := connection.recv(65_536):
            heard += received
    assert heard.count(b"HTTP/1.1 200") <= answers


def test_the_admin_api_serves_whatever_strangers_hold_open(database: ArchiveDatabase, tmp_path: Path) -> None:
    port = find_free_port()
    settings = {
        "LCS_DATABASE_URL": database.url("lcs_admin"),
        "LCS_AMQP_URL": NO_BROKER,
        "LCS_PRINCIPALS_FILE": str(write_principals(tmp_path)),
        "LCS_PORT": str(port),
    }
    process = Process("admin-api", [*FEW_FILES, sys.executable, "-m", "admin_api"], tmp_path, settings)
    operator = {"Authorization": "Bearer operator"}
    try:
        with _client(port, operator) as client:
            process.wait_until(lambda: _is_ready(client))
            body = (
                b"PUT /v1/policy HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
            )
            for said in (b"", b"GET / HTTP/1.1\r\nX: ", body):
                with _strangers(port, said):
                    assert client.get("/v1/policy").status_code == httpx.codes.OK
        assert process.stop() == 0
    finally:
        process.kill()


def _client(port: int, headers: dict[str, str] | None = None) -> httpx.Client:
    """Return a client that comes anew with each request: a connection it had before would be no proof."""
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, limits=limits, trust_env=False)


def _is_ready(client: httpx.Client) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return client.get("/readyz").status_code == httpx.codes.OK
    return False


def test_the_worker_serves_its_health_whatever_strangers_hold_open(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    port = find_free_port()
    settings = {
        "LCS_DATABASE_URL": database.url("lcs_archiving"),
        "LCS_AMQP_URL": vhost.url("archiving"),
        "LCS_PORT": str(port),
    }
    process = Process("archiving", [*FEW_FILES, sys.executable, "-m", "archiving"], tmp_path, settings)
    try:
        with _client(port) as client:
            process.wait_until(lambda: _is_ready(client))
            for said in (b"", b"GET / HTTP/1.1\r\nX: "):
                with _strangers(port, said):
                    assert client.get("/readyz").status_code == httpx.codes.OK
                    assert _files_of(process) < FILES // 2
        assert process.stop() == 0
    finally:
        process.kill()
