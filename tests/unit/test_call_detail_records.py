"""Call detail records on their way to the queue: each once, in messages that the broker takes."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from contract.cdr import Activity, decode_activities
from contract.message import make_id, time_at
from contract.policy import Decision
from frontend import cdr
from frontend.cdr import CDR
from tests.unit.agent_port import SETTINGS, Policies, make_im, reached

_MIB = 1 << 20


class Port:
    """In the publisher's place: notes what is published, and lets it wait for ``gate``."""

    def __init__(self) -> None:
        self.connected = asyncio.Event()
        self.connected.set()
        self.gate = asyncio.Event()
        self.gate.set()
        self.under_way = 0
        self.published: list[tuple[str, list[Activity]]] = []
        self.longest = 0

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def publish(self, body: bytes, _headers: object, _type: str, id_: str, *, seconds: float) -> None:
        self.under_way += 1
        async with asyncio.timeout(seconds):
            await self.gate.wait()
        self.under_way -= 1
        self.published.append((id_, decode_activities(body)))
        self.longest = max(self.longest, len(body))


def _run(scenario: Callable[[CDR, Port, "asyncio.Task[None]"], Awaitable[None]]) -> None:
    async def main() -> None:
        records = CDR(SETTINGS, Policies(critical=True))  # type: ignore[arg-type] # stands in
        port = Port()
        records._publisher = port  # type: ignore[assignment] # stands in
        running = asyncio.create_task(records.run())
        try:
            await asyncio.wait_for(scenario(records, port, running), 10)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(main())


def _session(conversation: str = "c", **fields: Any) -> Activity:
    now = datetime.now(UTC)
    return Activity(
        conversation=conversation, sender="sip:a@contoso.com", recipients=("sip:b@contoso.com",),
        scope="internal", pool="pool1", first=now, last=now, **({"client": "c"} | fields),
    )  # fmt: skip


def test_what_is_left_is_published_once_though_a_publish_is_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cdr, "_EVERY_SECONDS", 0.01)

    async def scenario(records: CDR, port: Port, running: "asyncio.Task[None]") -> None:
        port.gate.clear()
        records.note_session(_session("first"), "edge")
        await reached(lambda: port.under_way == 1)
        records.note_session(_session("second"), "edge")
        draining = asyncio.create_task(records.drain())
        await asyncio.sleep(0.05)
        port.gate.set()
        await draining
        assert [activity.conversation for _, some in port.published for activity in some] == [
            "connector:edge:first",
            "connector:edge:second",
        ]
        await asyncio.sleep(0.05)
        assert not running.done()

    _run(scenario)


def test_no_message_is_longer_than_a_broker_takes() -> None:
    async def scenario(records: CDR, port: Port, _running: "asyncio.Task[None]") -> None:
        decision = Decision(archive=True, rule="internal-everyone", scope="internal", version=1)
        recipients = tuple(f"sip:{number}{'x' * 400}@contoso.com" for number in range(500))
        for number in range(100):
            im = make_im("hello")
            im.conversation, im.recipients, im.client = str(number), recipients, "c"
            records.note_im(im, decision)
        await records.drain()
        found = [activity.conversation for _, some in port.published for activity in some]
        assert found == [str(number) for number in range(100)]
        assert port.longest <= _MIB
        assert len({id_ for id_, _ in port.published}) == len(port.published)

    _run(scenario)


def test_no_sum_spans_more_than_seconds_however_old_its_ims_are() -> None:
    async def scenario(records: CDR, port: Port, _running: "asyncio.Task[None]") -> None:
        decision = Decision(archive=True, rule="r", scope="internal", version=1)
        now = 1_770_000_000_000
        for ago in (72 * 3_600_000, 72 * 3_600_000 - 1, 24 * 3_600_000, 30_000, 20_000, 19_999, 0):
            im = make_im("hello")
            im.id, im.sent_at = make_id(now - ago), time_at(now - ago)
            records.note_im(im, decision)
        await records.drain()
        [(_, activities)] = port.published
        assert [activity.archived for activity in activities] == [2, 1, 1, 2, 1]
        assert max(activity.last - activity.first for activity in activities).total_seconds() < 10

    _run(scenario)


def test_what_a_client_says_of_a_session_is_cut_to_what_an_im_may_have() -> None:
    async def scenario(records: CDR, port: Port, _running: "asyncio.Task[None]") -> None:
        records.note_session(_session("k" * 10_000, client="u" * 10_000, ended="4" * 10_000), "edge")
        im = make_im("hello")
        im.client = "u" * 10_000
        records.note_im(im, Decision(archive=True, rule="r", scope="internal", version=1))
        await records.drain()
        [(_, activities)] = port.published
        assert [len(activity.client) for activity in activities] == [200, 200]
        assert activities[1].conversation == "connector:edge:" + "k" * 255
        assert len(activities[1].ended) <= 64

    _run(scenario)
