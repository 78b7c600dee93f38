"""Whatever is lost, away or restarted: partners are told, and recorded as told by who delivers alone."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from contract.policy import Disclaimer
from frontend.listeners.submission import read_submission
from frontend.policy import disclaimers, notice_records
from frontend.policy.decisions import Decisions
from frontend.policy.disclaimers import Disclaimers
from frontend.receipt import CONFIRMED, Receipt
from tests.conftest import ArchiveDatabase
from tests.integration.admin.conftest import AdminApi, running_api
from tests.unit.agent_port import CONNECTOR, SETTINGS, Policies

REFUSED = 2
"""The number of a conversation whose claims the admin API refuses for ever."""
numbers, nodes = st.integers(0, 2), st.integers(0, 1)
connectors = st.sampled_from(["edge", "other"])
ways = st.sampled_from(["open", "open", "open", "away", "answer lost"])


class Telling(Policies):
    """A policy by which partners are told."""

    disclaimer = Disclaimer(enabled=True, wordings={"en": "Is archived."})


class Clock:
    """In the place of ``time``."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Way(httpx.AsyncBaseTransport):
    """The way to the admin API: open, or it doesn't arrive ("away"), or no answer comes back."""

    def __init__(self) -> None:
        self.state = "open"
        self._real = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.state == "away":
            raise httpx.ConnectError("as the test says")
        if f"refused-{REFUSED}".encode() in request.content:
            return httpx.Response(500, request=request)
        response = await self._real.handle_async_request(request)
        await response.aread()
        if self.state == "answer lost":
            raise httpx.ReadTimeout("as the test says")
        return response

    async def aclose(self) -> None:
        await self._real.aclose()


class Given(msgspec.Struct, eq=False):
    """That a partner was to be told with an IM."""

    im: UUID
    connector: str
    at: float
    text: tuple[object, ...]
    asked: bool
    """Whether the admin API said so."""
    taken_back: bool = False


class Notices(RuleBasedStateMachine):
    """Two front ends at one admin API."""

    api: AdminApi
    clock: Clock

    def __init__(self) -> None:
        super().__init__()
        self.run = uuid4().hex
        self.loop = asyncio.new_event_loop()
        self.policies = Telling(critical=True)
        self.way = Way()
        self.client = httpx.AsyncClient(
            base_url=self.api.url,
            headers={"Authorization": "Bearer frontend"},
            transport=self.way,
            timeout=60,  # a machine that is busy is not away
        )
        self.nodes = [self._start() for _ in range(2)]
        self.given: dict[tuple[str, str], list[Given]] = defaultdict(list)
        """Of a conversation and partner."""
        self.held: dict[tuple[UUID, str], tuple[str, set[str]]] = {}
        """By connectors that got the answer: conversation and partners of an IM."""
        self.said: set[tuple[str, str, UUID, str]] = set()
        self.recorded: set[tuple[str, str, UUID, str]] = set()

    def _start(self) -> Disclaimers:
        node = Disclaimers(SETTINGS, self.policies)  # type: ignore[arg-type] # stands in
        node._records._client = self.client
        return node

    @rule(
        node=nodes,
        connector=connectors,
        number=numbers,
        many=st.booleans(),
        text=numbers,
        way=ways,
        lost=st.booleans(),
    )
    def bring(
        self, *, node: int, connector: str, number: int, many: bool, text: int, way: str, lost: bool
    ) -> None:
        """An IM without an id passes a front end; its answer may get lost."""
        people = ["sip:bob@partner.example", "sip:carol@partner.example"][: 1 + many]
        kind = "refused" if number == REFUSED else "taken"
        conversation = f"{self.run}-{kind}-{number}"
        document = {
            "sender": "a@contoso.com", "recipients": people, "body": str(text), "conversation": conversation,
        }  # fmt: skip
        front_end = self.nodes[node]
        asked = way == "open" and not front_end._records.is_away and number != REFUSED
        im, told = self._submit(front_end, document, connector, way)
        for partner in people:
            who, spoken = (conversation, partner), (connector, text, many)
            before = self.given[who]
            if partner in told:
                before.append(Given(im, connector, self.clock.now, spoken, asked))
            elif not lost and not any(said[:2] == who for said in self.said):
                # Then another IM brought it, not long ago for how often it did.
                latest = max((each.at for each in before if not (asked and each.taken_back)), default=-1e9)
                assert self.clock.now - latest < min(3600, 10 * 2 ** (len(before) - 1)), (who, before)
                same = [each for each in before if each.text == spoken and each.asked]
                assert not asked or len(same) >= 9 or all(each.taken_back for each in same), (who, before)
        if told and not lost:
            self.held[im, connector] = conversation, told

    def _submit(
        self, front_end: Disclaimers, document: dict[str, Any], connector: str, way: str
    ) -> tuple[UUID, set[str]]:
        im = read_submission(json.dumps(document).encode(), SETTINGS)
        decision = Decisions("pool1").decide(self.policies.current, im, CONNECTOR)

        async def submit() -> Receipt:
            receipt = front_end.accompany(im, Receipt(im.id, decision, CONFIRMED), connector)
            await receipt.settled()
            return receipt

        self.way.state = way
        return im.id, {each.to for each in self.loop.run_until_complete(submit()).notices}

    @precondition(lambda self: self.held)
    @rule(data=st.data(), node=nodes, delivered=st.booleans(), way=ways, again=st.booleans())
    def say(self, *, data: st.DataObject, node: int, delivered: bool, way: str, again: bool) -> None:
        """A connector says at any front end what became of a notice, perhaps twice."""
        im, connector = key = data.draw(st.sampled_from(sorted(self.held)))
        conversation, partners = self.held[key]
        if not again:
            del self.held[key]
        front_end = self.nodes[node]
        self.way.state = way
        words = {(conversation, partner, im, connector) for partner in partners}
        if delivered:
            self.said |= words
        waits = any(key in each._records._waiting for each in self.nodes)
        try:
            done = self.loop.run_until_complete(
                (front_end.confirm if delivered else front_end.retract)(im, connector)
            )
        except LookupError:
            return
        if done and delivered:
            self.recorded |= words
        elif done and not waits:
            for partner in partners:
                for each in self.given[conversation, partner]:
                    each.taken_back = each.taken_back or (each.im, each.connector) == key

    @rule(seconds=st.sampled_from([1, 6, 11, 60, 600, 4000]))
    def wait(self, *, seconds: int) -> None:
        """Time passes."""
        self.clock.now += seconds
        with psycopg.connect(self.api.database.url("postgres")) as connection:
            connection.execute(
                "UPDATE policy.disclaimers_sent SET noted_at = noted_at - %s", [timedelta(seconds=seconds)]
            )

    @rule(node=nodes)
    def restart(self, *, node: int) -> None:
        """A front end is killed, and another begins."""
        self.nodes[node] = self._start()

    @rule(node=nodes)
    def record(self, *, node: int) -> None:
        """What waits is recorded: all but what is refused."""
        self.way.state = "open"
        records = self.nodes[node]._records
        waited = [entry for waiting in records._waiting.values() for entry in waiting.entries]
        self.loop.run_until_complete(records._record())
        for entry in waited:
            if isinstance(entry, notice_records.HandedOver):
                for notice in entry.claim.notices:
                    for each in self.given[entry.claim.conversation, notice.partner]:
                        if (each.im, each.connector) == (entry.claim.im, entry.claim.connector):
                            each.at = self.clock.now  # intervals count from when it was noted
        for waiting in records._waiting.values():
            [first, *_] = waiting.entries
            assert isinstance(first, notice_records.HandedOver)
            assert first.claim.conversation.endswith(f"refused-{REFUSED}")

    @invariant()
    def nobody_is_told_without_a_word(self) -> None:
        with psycopg.connect(self.api.database.url("postgres")) as connection:
            told = connection.execute(
                "SELECT conversation, partner, im, connector FROM policy.disclaimers_sent"
                " WHERE told_at IS NOT NULL AND conversation LIKE %s",
                [f"{self.run}-%"],
            ).fetchall()
        assert self.recorded <= set(told) <= self.said

    def teardown(self) -> None:
        """End."""
        self.loop.run_until_complete(self.client.aclose())
        self.loop.close()


@pytest.fixture
def api(database: ArchiveDatabase, tmp_path: Path) -> Iterator[AdminApi]:
    """An admin API."""
    with running_api(database, tmp_path) as running:
        yield running


@pytest.fixture(autouse=True)
def _place(api: AdminApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Say where and by which clock it goes."""
    Notices.api, Notices.clock = api, Clock()
    for module in (disclaimers, notice_records):
        monkeypatch.setattr(module, "time", Notices.clock)


def test_all_are_told_of_whom_an_answer_that_got_lost_may_have_noted_a_claim() -> None:
    notices = Notices()
    how = {"node": 0, "connector": "edge", "number": 0, "lost": False}
    notices.bring(many=False, text=0, way="away", **how)
    notices.wait(seconds=6)
    notices.bring(many=True, text=1, way="answer lost", **how)
    _, partners = list(notices.held.values())[-1]
    assert len(partners) == 2
    notices.teardown()


def test_partners_are_told_whatever_is_lost_and_recorded_by_who_delivers_alone() -> None:
    run_state_machine_as_test(
        Notices,
        settings=settings(
            max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
