"""Streams of IMs: in order, in constant memory, and ended in order."""

import asyncio
import contextlib
import json
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID

from contract.message import AGENT_TYPE, decode_statement
from contract.topology import QUEUE
from deploy.local.process import wait_for
from tests.conftest import Vhost
from tests.integration.frontend_service import GATEWAY, IM, NDJSON, FrontEnd, ims_of, resident_bytes

HEAD = (
    b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n"
    b"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
)


class Stream:
    """A stream that stays open: sends lines, hears answers."""

    def __init__(self, front_end: FrontEnd) -> None:
        self._connection = socket.create_connection(("127.0.0.1", front_end.port), timeout=20)
        self._connection.sendall(HEAD)
        self.heard = b""

    def send(self, line: bytes) -> None:
        self._connection.sendall(b"%x\r\n%s\r\n" % (len(line), line))

    def hear(self, archived: int) -> None:
        """Return when so many IMs are answered 201."""
        while self.heard.count(b'"archived":true') < archived:
            self._hear_more()

    def hear_end(self) -> None:
        """Return when the answer has ended in order."""
        while not self.heard.endswith(b"0\r\n\r\n"):
            self._hear_more()

    def _hear_more(self) -> None:
        received = self._connection.recv(65_536)
        assert received, "the connection ended too early"
        self.heard += received

    def close(self) -> None:
        self._connection.close()


def test_a_stream_is_answered_line_by_line_in_order_and_errors_stop_nothing(
    vhost: Vhost, front_end: FrontEnd
) -> None:
    lines = [json.dumps(IM | {"body": str(number)}).encode() for number in range(1, 1001)]
    lines[100] = b"no json"
    lines[200] = json.dumps(IM | {"recipients": []}).encode()
    lines[300] = json.dumps(IM | {"body": "x" * 300_000}).encode()
    lines[400] = b"  "
    answers = front_end.stream(lines)
    expected = [number for number in range(1, 1001) if number != 401]
    assert [answer["line"] for answer in answers] == expected
    bad = {answer["line"]: answer["status"] for answer in answers if answer["status"] != 201}
    assert bad == {101: 400, 201: 422, 301: 413}
    bodies = [im.body for im in ims_of(vhost.take(QUEUE))]
    assert bodies == [str(number) for number in expected if number not in bad]


def test_ims_of_a_stream_have_ids_in_their_order(front_end: FrontEnd) -> None:
    """Those that say no time, and those that all say the same."""
    then = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    for im in (IM, IM | {"sent_at": then}):
        ids = [UUID(answer["id"]) for answer in front_end.stream([json.dumps(im).encode()] * 300)]
        assert len(set(ids)) == 300
        assert ids == sorted(ids)


def test_answers_of_a_stream_come_while_it_is_still_being_sent(front_end: FrontEnd) -> None:
    with contextlib.closing(Stream(front_end)) as stream:
        for number in range(1, 4):
            stream.send(json.dumps(IM).encode() + b"\n")
            stream.hear(number)
        stream.send(b"")
        stream.hear_end()
    assert stream.heard.startswith(b"HTTP/1.1 200")


def test_a_line_without_an_end_takes_no_memory(front_end: FrontEnd) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(400):
            yield b"x" * 262_144
        yield b"\n" + json.dumps(IM).encode()

    before = resident_bytes(front_end)
    response = front_end.http.post("/v1/messages", content=chunks(), headers=NDJSON)
    answers = [json.loads(line) for line in response.content.splitlines()]
    assert [answer["status"] for answer in answers] == [413, 201]
    assert resident_bytes(front_end) - before < 30_000_000


def test_a_long_stream_takes_no_more_memory_than_a_short_one(front_end: FrontEnd) -> None:
    line = json.dumps(IM | {"body": "x" * 400}).encode() + b"\n"

    async def send(count: int) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", front_end.port)
        writer.write(HEAD)

        async def write() -> None:
            chunk = line * 100
            for _ in range(count // 100):
                writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                await writer.drain()
            writer.write(b"0\r\n\r\n")

        writing = asyncio.create_task(write())
        archived, end = 0, b""
        while not end.endswith(b"0\r\n\r\n"):
            received = await reader.read(1 << 20)
            archived += (end[-14:] + received).count(b'"archived":true')
            end = (end + received)[-20:]
        await writing
        writer.close()
        return archived

    assert asyncio.run(send(5_000)) == 5_000
    before = resident_bytes(front_end)
    assert asyncio.run(send(40_000)) == 40_000  # 20 MB come, 6 MB go
    assert resident_bytes(front_end) - before < 6_000_000


def test_a_client_that_takes_no_answers_is_read_no_further(front_end: FrontEnd) -> None:
    chunk = (json.dumps(IM).encode() + b"\n") * 1000
    with contextlib.closing(socket.create_connection(("127.0.0.1", front_end.port))) as connection:
        connection.sendall(HEAD)
        connection.settimeout(3)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 300:
                connection.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                sent += 1
    assert sent < 300
    assert resident_bytes(front_end) < 150_000_000


def test_streams_that_bring_more_than_may_wait_are_slowed_not_refused(
    vhost: Vhost, start: Callable[..., FrontEnd]
) -> None:
    front_end = start(vhost.url("frontend"), LCS_MAX_PENDING="50", LCS_PUBLISH_IMS="20")
    front_end.wait_until_ready()
    with ThreadPoolExecutor(4) as clients:
        streams = [clients.submit(front_end.stream, [json.dumps(IM).encode()] * 500) for _ in range(4)]
        statuses = [answer["status"] for stream in streams for answer in stream.result(60)]
    assert statuses == [201] * 2000


def test_sigterm_ends_an_open_stream_in_order_and_all_that_it_brought_is_answered(
    vhost: Vhost, start: Callable[..., FrontEnd]
) -> None:
    front_end = start(vhost.url("frontend"), LCS_DEADLINE_SECONDS="30")
    front_end.wait_until_ready()
    with contextlib.closing(Stream(front_end)) as stream:
        stream.send(json.dumps(IM).encode() + b"\n")
        stream.hear(1)
        front_end.process.send(signal.SIGTERM)
        stream.hear_end()
    assert front_end.process.popen.wait(10) == 0
    taken = vhost.take(QUEUE)
    assert len(ims_of(taken)) == 1
    [last] = [decode_statement(d.body) for d in taken if d.properties.type == AGENT_TYPE][-1:]
    assert (last.confirmed, last.ended) == (1, True)


def test_sigterm_drains_what_waits_for_the_broker(own_broker: Vhost, start: Callable[..., FrontEnd]) -> None:
    front_end = start(own_broker.url("frontend"), LCS_DEADLINE_SECONDS="30")
    front_end.wait_until_ready()
    own_broker.broker.pause()
    with ThreadPoolExecutor(5) as clients:
        waiting = [clients.submit(front_end.post, IM | {"body": str(number)}) for number in range(5)]
        wait_for(lambda: front_end.http.get("/readyz").json()["accepted"] == 5, "five IMs to wait")
        front_end.process.send(signal.SIGTERM)
        wait_for(lambda: "Shutting down" in front_end.process.log.read_text(), "the front end to stop")
        own_broker.broker.resume()
        assert [each.result(30).status_code for each in waiting] == [201] * 5
    assert front_end.process.popen.wait(10) == 0
    assert sorted(im.body for im in ims_of(own_broker.take(QUEUE))) == ["0", "1", "2", "3", "4"]


def test_slow_streams_hold_little_and_keep_out_nobody(front_end: FrontEnd) -> None:
    before = resident_bytes(front_end)
    part = b"%x\r\n%s\r\n" % (200_000, b"x" * 200_000)
    with contextlib.ExitStack() as stack:
        heads = []
        for _ in range(600):
            connection = socket.create_connection(("127.0.0.1", front_end.port), timeout=20)
            stack.callback(connection.close)
            connection.sendall(HEAD)
            heads.append(connection.recv(12))
            if heads[-1] == b"HTTP/1.1 200":
                connection.sendall(part)
        assert heads.count(b"HTTP/1.1 200") == 500  # so many of a connector
        assert heads.count(b"HTTP/1.1 503") == 100
        answer = front_end.post(IM, **GATEWAY)
        assert answer.status_code == 201, answer.text
        lines = [json.dumps(IM).encode()] * 10
        assert len(lines) == 10
        response = front_end.http.post("/v1/messages", content=b"\n".join(lines), headers=NDJSON | GATEWAY)
        assert [json.loads(line)["status"] for line in response.content.splitlines()] == [201] * 10
        assert resident_bytes(front_end) - before < 110 << 20  # they sent as much
    assert front_end.post(IM).status_code == 201
