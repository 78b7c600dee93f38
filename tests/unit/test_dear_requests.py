"""Requests that are dear to read, however few bytes they have: few go in a round, none is read for long."""

import asyncio
import gzip
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st

from contract.sdp import is_silent
from frontend.listeners.intake import Intake
from frontend.listeners.sip.content import find_offers, find_said
from frontend.listeners.sip.emptiness import MAX_PROVED, is_empty
from frontend.listeners.sip.mime import MIMEError, split_parts
from frontend.listeners.sip.request import SIPError, parse_request
from frontend.listeners.turns import LONG, MOST_IN_ROUND, MOST_SECONDS, REQUEST, ROUND, Turns
from tests.unit.agent_port import CONNECTOR, SETTINGS
from tests.unit.rounds import call_in_rounds

_DEAR = (MOST_SECONDS + LONG) / 2
"""Seconds: they end a round, and no rest follows what has so many bytes:"""
_BYTES = 150_000
_SDP = b"v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\n"


class _Clock:
    """In the place of this thread's time."""

    def __init__(self) -> None:
        self.now = 0.0

    def thread_time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    made = _Clock()
    monkeypatch.setattr("frontend.listeners.turns.time", SimpleNamespace(thread_time=made.thread_time))
    return made


def _most_at_once(rounds: list[int]) -> int:
    return max(Counter(rounds).values())


def test_a_round_ends_with_what_takes_all_its_time(clock: _Clock) -> None:
    def spend() -> None:
        clock.now += _DEAR

    came = call_in_rounds(_BYTES, spend)
    assert _most_at_once([number for number, _ in came]) == 1
    assert "one" in [name for _, name in came[:3]]  # though forty came before it


def test_what_is_under_way_goes_on_while_few_bytes_take_long(clock: _Clock) -> None:
    async def scenario() -> None:
        turns, done = Turns(), 0

        async def flood() -> None:
            nonlocal done
            await turns.wait("flood", 1)
            clock.now += 30
            done += 1

        flooding = [asyncio.create_task(flood()) for _ in range(5)]
        for _ in range(20):  # as an IM does: published, confirmed, answered
            await asyncio.sleep(0)
        assert done == 1
        for task in flooding:
            task.cancel()
        await asyncio.gather(*flooding, return_exceptions=True)

    asyncio.run(scenario())


def test_another_goes_before_who_took_all_of_a_round(clock: _Clock) -> None:
    came: list[str] = []

    async def scenario() -> None:
        turns = Turns()

        async def call(name: str) -> None:
            await turns.wait(name, 2 * MOST_IN_ROUND)  # so one goes in a round
            clock.now += _DEAR if name == "slow" else 0
            came.append(name)

        slow = [asyncio.create_task(call("slow")) for _ in range(10)]
        while not came:  # noqa: ASYNC110 - it is the first's turn
            await asyncio.sleep(0)
        await asyncio.gather(call("one"), call("two"), *slow)

    asyncio.run(scenario())
    assert came[:5] == ["slow", "slow", "one", "two", "slow"]  # the second's turn had come before theirs


def test_a_small_request_needs_one_turn() -> None:
    async def scenario() -> None:
        intake, waited = Intake(SETTINGS, 10_000), list[int]()
        wait = intake.turns.wait

        async def count(connector: str, cost: int) -> None:
            waited.append(cost)
            await wait(connector, cost)

        intake.turns.wait = count  # type: ignore[method-assign]  # counts

        async def post(size: int) -> int:
            chunks = iter([b"x" * size, b""])

            async def receive() -> Any:
                chunk = next(chunks)
                return {"type": "http.request", "body": chunk, "more_body": bool(chunk)}

            scope = {"type": "http", "headers": [], ROUND: intake.turns.round}
            waited.clear()
            async with intake.request(Request(scope, receive), CONNECTOR) as body:
                assert len(body) == size
            return len(waited)

        assert await post(REQUEST) == 0  # but the one in which it was begun
        assert await post(REQUEST + 1) == 1

    asyncio.run(scenario())


def test_a_body_whose_end_comes_alone_is_read_in_a_turn(clock: _Clock) -> None:
    read: list[int] = []

    async def scenario() -> None:
        intake, ended, rounds = Intake(SETTINGS, 10_000), asyncio.Event(), 0

        async def post() -> None:
            chunks = iter([b"x", b""])

            async def receive() -> Any:
                chunk = next(chunks)
                if not chunk:
                    await ended.wait()
                return {"type": "http.request", "body": chunk, "more_body": bool(chunk)}

            async with intake.request(Request({"type": "http", "headers": []}, receive), CONNECTOR):
                clock.now += _DEAR
                read.append(rounds)

        tasks = [asyncio.create_task(post()) for _ in range(20)]
        for _ in range(5):
            await asyncio.sleep(0)
        ended.set()
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            rounds += 1

    asyncio.run(scenario())
    assert len(read) == 20
    assert _most_at_once(read) == 1


_CALLS = st.tuples(
    st.sampled_from("abc"),
    st.sampled_from([_BYTES, 2 * MOST_IN_ROUND]),
    st.sampled_from([0.0, MOST_SECONDS, _DEAR]),
    st.booleans(),
)


@given(st.lists(_CALLS, min_size=1, max_size=40))
def test_turns_come_to_all_whatever_they_take(calls: list[tuple[str, int, float, bool]]) -> None:
    clock, came = _Clock(), list[int]()

    async def scenario() -> None:
        turns = Turns()

        async def call(number: int) -> None:
            name, cost, seconds, later = calls[number]
            if later:
                await asyncio.sleep(0)
            await turns.wait(name, cost)
            clock.now += seconds
            came.append(number)

        await asyncio.wait_for(asyncio.gather(*map(call, range(len(calls)))), 5)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("frontend.listeners.turns.time", SimpleNamespace(thread_time=clock.thread_time))
        asyncio.run(scenario())
    assert len(came) == len(calls)
    for key in {(name, later) for name, _, _, later in calls}:
        of_it = [number for number in came if (calls[number][0], calls[number][3]) == key]
        assert of_it == sorted(of_it)


def _request(*lines: str, method: str = "MESSAGE", body: bytes = b"hi") -> bytes:
    head = (f"{method} sip:b@b.example SIP/2.0", "To: <sip:b@b.example>", "Call-ID: c", *lines, "", "")
    return "\r\n".join(head).encode() + body


_FROM = "From: <sip:a@a.example>"


@pytest.mark.parametrize(
    "lines",
    [
        [_FROM, *["a:"] * 500],
        [_FROM + ";t=1" * 2000],
        [_FROM, "Content-Type: text/plain" + ";a" * 3000],
        [_FROM, "Ms-Conversation-ID: " + "x" * 5000],
    ],
    ids=["lines", "parameters of an address", "parameters of a type", "key"],
)
def test_a_head_that_takes_long_to_read_is_refused(lines: list[str]) -> None:
    with pytest.raises(SIPError, match="more than"):
        parse_request(_request(*lines))


@pytest.mark.parametrize("compressed", [False, True])
def test_an_offer_too_long_to_look_through_is_refused(compressed: bool) -> None:
    body = _SDP + b"m=\r\n" * (MAX_PROVED // 4)
    lines = [_FROM, "Content-Type: application/sdp"]
    if compressed:
        body = gzip.compress(body, mtime=0)
        lines.append("Content-Encoding: gzip")
    with pytest.raises(SIPError, match="more than"):
        find_offers(parse_request(_request(*lines, method="INVITE", body=body)))


def test_what_is_too_long_to_be_proved_empty_is_content() -> None:
    line = b"a=content:sl\r\n"
    assert is_empty("application/sdp", _SDP + line)
    assert not is_empty("application/sdp", _SDP + line * (MAX_PROVED // len(line)))
    spaces = b"a=ice-options:%b\r\n"
    assert is_silent(_SDP + spaces % (b" " * 100))
    assert not is_silent(_SDP + spaces % (b" " * 5000))


def test_a_list_of_very_many_recipients_is_refused_before_it_is_parsed() -> None:
    body = (
        b"--a\r\nContent-Type: application/resource-lists+xml\r\n"
        b"Content-Disposition: recipient-list\r\n\r\n<r>"
        + b"<a/>" * 20_000
        + b"</r>\r\n--a\r\n\r\nhi\r\n--a--"
    )
    lines = (_FROM, "Require: recipient-list-message", "Content-Type: multipart/mixed;boundary=a")
    with pytest.raises(SIPError, match="more than"):
        find_said(parse_request(_request(*lines, body=body)))


def test_a_body_of_very_many_parts_is_not_split() -> None:
    part = b"--a\r\n\r\n\r\n"
    assert len(split_parts("multipart/mixed;boundary=a", part * 99 + b"--a--").parts) == 99
    with pytest.raises(MIMEError):
        split_parts("multipart/mixed;boundary=a", part * 100 + b"--a--")
