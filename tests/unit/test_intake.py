"""What callers have begun to send is bounded in bytes, over all of them."""

import asyncio
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st

from frontend.agent import Agent
from frontend.config import FrontEndSettings
from frontend.listeners.intake import Intake
from frontend.listeners.stream import LineSplitter, Stream
from runtime.problem import Problem
from runtime.security import SecurityLog
from tests.unit.agent_port import CONNECTOR, SETTINGS, Port, run

MOST = SETTINGS.max_im_bytes
BUDGET = 64 << 20


def _intake(connections: int = 10_000, settings: FrontEndSettings = SETTINGS) -> Intake:
    return Intake(settings, connections)


def _cut(data: bytes, places: list[int]) -> Iterator[bytes]:
    """Yield data in chunks, none empty."""
    last = 0
    for place in sorted({place % (len(data) + 1) for place in places} | {len(data)}):
        if place > last:
            yield data[last:place]
            last = place


@given(st.binary(max_size=200).map(lambda data: data.replace(b"\x00", b"\n")), st.lists(st.integers(0, 200)))
def test_a_stream_has_the_same_lines_however_it_is_cut(data: bytes, places: list[int]) -> None:
    splitter = LineSplitter(_intake(), CONNECTOR)
    lines = [line for chunk in _cut(data, places) for line in splitter.split(chunk)] + list(splitter.end())
    whole = data.split(b"\n")
    assert lines == (whole if whole[-1] else whole[:-1])
    assert splitter.number == len(lines)


def test_a_line_that_comes_byte_by_byte_is_put_together_in_place() -> None:
    longest = 30_000
    intake = _intake(settings=SETTINGS.model_copy(update={"max_im_bytes": longest}))
    splitter = LineSplitter(intake, CONNECTOR)
    tracemalloc.start()
    try:
        for _ in range(longest):
            assert not list(splitter.split(b"x"))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2 * longest  # it would be copied for each byte
    assert list(splitter.split(b"\n")) == [b"x" * longest]


def test_unfinished_lines_are_few_and_short_ones_always_go_on() -> None:
    intake = _intake()
    slow = [LineSplitter(intake, CONNECTOR) for _ in range(1000)]
    tracemalloc.start()
    try:
        for splitter in slow:
            for _ in range(4):
                assert not list(splitter.split(b"x" * (MOST // 4)))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < BUDGET + (10 << 20)

    short = LineSplitter(intake, CONNECTOR)
    assert list(short.split(b"{}" * 1000)) == []
    assert list(short.split(b"\n")) == [b"{}" * 1000]
    ends = [line for each in slow for line in each.split(b"\n")]
    statuses = [line.status if isinstance(line, Problem) else 0 for line in ends]
    assert set(statuses) == {0, 503}

    again = LineSplitter(intake, CONNECTOR)  # what was held is there for others
    assert not list(again.split(b"x" * MOST))
    assert list(again.split(b"\nnext\n")) == [b"x" * MOST, b"next"]


def test_a_line_that_is_refused_costs_the_next_nothing() -> None:
    splitter = LineSplitter(_intake(), CONNECTOR)
    assert not list(splitter.split(b"x" * (MOST + 1)))
    first, second, third = splitter.split(b"\ny\n" + b"z" * (MOST + 1) + b"\n")
    assert isinstance(first, Problem) and first.status == 413
    assert second == b"y"
    assert isinstance(third, Problem) and third.status == 413


def test_a_connector_has_so_many_streams_and_no_more() -> None:
    intake = _intake(connections=128)
    for _ in range(32):
        intake.open_stream(CONNECTOR)
    with pytest.raises(Problem) as raised:
        intake.open_stream(CONNECTOR)
    assert raised.value.status == 503
    intake.close_stream(CONNECTOR)
    intake.open_stream(CONNECTOR)


def _request(chunks: list[bytes]) -> Request:
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    left = iter(messages)

    async def receive() -> Any:
        return next(left)

    return Request({"type": "http", "headers": []}, receive)


def test_bodies_share_the_room_of_lines() -> None:
    intake = _intake()
    for _ in range(BUDGET // MOST + 10):
        list(LineSplitter(intake, CONNECTOR).split(b"x" * MOST))

    async def read(size: int) -> bytes:
        request = _request([b"y" * (size // 2), b"y" * (size // 2)])
        async with intake.request(request, CONNECTOR) as body:
            return body

    assert asyncio.run(read(4096)) == b"y" * 4096
    with pytest.raises(Problem) as raised:
        asyncio.run(read(MOST))
    assert raised.value.status == 503


def test_requests_of_a_connector_that_are_not_answered_are_so_many_and_no_more() -> None:
    other = msgspec.structs.replace(CONNECTOR, name="other")

    async def scenario(agent: Agent, port: Port) -> None:
        intake = _intake(64)

        async def begin() -> None:
            async with intake.request(_endless(), CONNECTOR):
                raise AssertionError("it is not whole")

        def _endless() -> Request:
            async def receive() -> Any:
                return await asyncio.Event().wait()

            return Request({"type": "http", "headers": []}, receive)

        tasks = [asyncio.create_task(begin()) for _ in range(32)]
        await asyncio.sleep(0)
        with pytest.raises(Problem) as raised:
            await begin()
        assert raised.value.status == 503
        async with intake.request(_request([b"one"]), other) as body:
            assert body == b"one"
        tasks[0].cancel()
        await asyncio.gather(tasks[0], return_exceptions=True)
        async with intake.request(_request([b"one"]), CONNECTOR) as body:
            assert body == b"one"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(scenario)


def test_the_share_of_a_connector_is_there_whatever_another_has_begun() -> None:
    other = msgspec.structs.replace(CONNECTOR, name="other")
    intake = Intake(SETTINGS, 10_000, 2)
    for _ in range(BUDGET // MOST + 10):
        list(LineSplitter(intake, CONNECTOR).split(b"x" * MOST))
    splitter = LineSplitter(intake, other)
    assert not list(splitter.split(b"x" * MOST))
    assert list(splitter.split(b"\n")) == [b"x" * MOST]


def test_answers_that_nobody_takes_hold_no_lines() -> None:
    lines = [b'{"sender": %d, "body": "%s"}\n' % (number, b"x" * 50_000) for number in range(1000)]

    async def scenario(agent: Agent, port: Port) -> None:
        begun, taken, chunks = asyncio.Event(), asyncio.Event(), iter(lines)

        async def receive() -> Any:
            line = next(chunks, b"")
            if not line:
                taken.set()
            return {"type": "http.request", "body": bytes(bytearray(line)), "more_body": bool(line)}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                begun.set()
                await asyncio.Event().wait()

        stream = Stream(SETTINGS, agent, _intake(), CONNECTOR, None, set(), SecurityLog("test"))
        tracemalloc.start()
        serving = asyncio.create_task(stream({"type": "http", "headers": []}, receive, send))
        try:
            await begun.wait()
            await taken.wait()
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
        assert held < 5 << 20  # of 50 MB

    run(scenario)


_GROUPS = [
    json.dumps(
        {
            "sender": "a@contoso.com",
            "recipients": [f"b@ü{number}.x{place}" for place in range(500)],
            "body": "hello",
        }
    ).encode()
    for number in range(30)
]
_ONE = json.dumps({"sender": "a@contoso.com", "recipients": ["b@contoso.com"], "body": "hello"}).encode()


@pytest.mark.parametrize("lines", [_GROUPS, [_ONE, *[b""] * 300_000, _ONE]], ids=["groups", "blank"])
def test_a_stream_s_turn_ends_however_long_its_lines_take(lines: list[bytes]) -> None:
    ims = sum(bool(line) for line in lines)

    async def scenario(agent: Agent, port: Port) -> None:
        chunks = iter([b"\n".join(lines) + b"\n"])

        async def receive() -> Any:
            chunk = next(chunks, b"")
            return {"type": "http.request", "body": chunk, "more_body": bool(chunk)}

        async def send(message: Any) -> None:
            pass

        port.gate.clear()  # nothing is confirmed
        stream = Stream(SETTINGS, agent, _intake(), CONNECTOR, None, set(), SecurityLog("test"))
        serving = asyncio.create_task(stream({"type": "http", "headers": []}, receive, send))
        while not agent.safekeeping.accepted:  # noqa: ASYNC110 - the next moment at which others may go
            await asyncio.sleep(0)
        assert agent.safekeeping.accepted < ims
        port.gate.set()
        await serving
        assert agent.safekeeping.confirmed == ims

    run(scenario, deadline_seconds=10)


def test_who_does_not_finish_an_im_is_answered_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontend.listeners.intake.UNFINISHED_SECONDS", 0.2)
    monkeypatch.setattr("frontend.listeners.intake._LOOK_SECONDS", 0.05)

    async def begin_only() -> Any:
        if begun:
            await asyncio.Event().wait()
        begun.append(True)
        return {"type": "http.request", "body": b"not whole", "more_body": True}

    begun: list[bool] = []
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def scenario(agent: Agent, port: Port) -> None:
        intake = _intake()
        running = asyncio.create_task(intake.run())
        scope = {"type": "http", "headers": []}
        with pytest.raises(Problem) as raised:
            async with intake.request(Request(scope, begin_only), CONNECTOR):
                pass
        assert raised.value.status == 408
        begun.clear()
        await Stream(SETTINGS, agent, intake, CONNECTOR, None, set(), SecurityLog("test"))(
            scope, begin_only, send
        )
        assert [json.loads(message["body"])["status"] for message in sent if message.get("body")] == [408]
        assert sent[-1] == {"type": "http.response.body", "body": b""}
        running.cancel()

    run(scenario)
