"""IMs that came twice, were parked, replayed or discarded: all agrees, until a row is deleted by hand."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import psycopg
import pytest
from pika.spec import BasicProperties

from archiving.archive import Archive
from archiving.cdr.records import Records
from archiving.delivery import Delivery
from archiving.journal import Journal
from archiving.senders import Senders
from archiving.storing import Settlement, append_prepared, prepare_batch, replay_all
from contract.cdr import CDR_TYPE
from contract.conversation import filed_key
from contract.message import (
    AGENT_TYPE,
    IM,
    IM_TYPE,
    AgentStatement,
    encode_ims,
    encode_statement,
    headers_of,
    time_of,
)
from contract.policy import Decision
from frontend.cdr import CDR
from frontend.im import CheckedIM
from tests.conftest import ArchiveDatabase
from tests.integration.archiving_service import changed
from tests.unit.agent_port import SETTINGS, Policies

IDLE: Final = timedelta(minutes=10)
SENDERS: Final = Senders({}, trust_anonymous=True)
EDGE: Final = datetime(2026, 3, 1, tzinfo=UTC)
"""Of a minute, and of a partition."""
SINCE, UNTIL = datetime(2025, 11, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)
OFFSETS: Final = (-60_000, -1, 0, 1, 59_999, 60_000, -9_000_000_000)
A, B, C, PARTNER = "sip:a@contoso.com", "sip:b@contoso.com", "sip:c@contoso.com", "sip:p@partner.com"
TALKS: Final[tuple[dict[str, Any], ...]] = (
    {"conversation": f"p2p:{A}|{B}", "sender": A, "recipients": (B,), "scope": "internal"},
    {"conversation": f"p2p:{A}|{B}", "sender": B, "recipients": (A,), "scope": "internal"},
    {"conversation": "group:1", "sender": C, "recipients": (A, B), "scope": "internal"},
    {"conversation": "group:1", "sender": A, "recipients": (B, C, PARTNER), "scope": "federated"},
    {"conversation": f"p2p:{A}|{PARTNER}", "sender": PARTNER, "recipients": (A,), "scope": "federated"},
    {"conversation": "connector:x:kéy", "sender": C, "recipients": (B,), "scope": "internal"},
    {"conversation": "p2p:" + "é" * 2000, "sender": B, "recipients": (C,), "scope": "internal"},
)  # fmt: skip
REPLAY: Final = b"SELECT archive.request_replay(ARRAY[%s::bigint], 'who', 'why')"
DISCARD: Final = b"SELECT archive.discard_parked(ARRAY[%s::bigint], 'who', 'why')"
NUMBERS: Final = {
    "messages": b"SELECT m.id, agent, seq FROM archive.messages AS m"
    b" JOIN archive.agents AS a ON a.id = agent_id",
    "duplicates": b"SELECT d.ctid, agent, seq FROM archive.duplicates AS d"
    b" JOIN archive.agents AS a ON a.id = agent_id",
    # By their headers, not by what was read of them; a number may be parked alone and with its whole message.
    "parked": b"SELECT p.id, p.agent, s.seq FROM archive.parked AS p"
    b" CROSS JOIN LATERAL generate_series(p.first_seq, p.first_seq + p.ims - 1) AS s (seq)"
    b" JOIN archive.agents AS a ON a.agent = p.agent AND a.parked @> s.seq WHERE p.state <> 'replayed'",
}
"""Rows and the numbers that they hold."""
DELETIONS: Final = {
    "messages": b"DELETE FROM archive.messages WHERE id = %s",
    "duplicates": b"DELETE FROM archive.duplicates WHERE ctid = %s::tid",
    "parked": b"DELETE FROM archive.parked WHERE id = %s",
}
Number = tuple[UUID, int]
"""An agent, and its number of an IM."""


class Port:
    """In the place of the publisher of call detail records: keeps its messages."""

    def __init__(self) -> None:
        self.messages: list[Delivery] = []

    async def publish(self, body: bytes, _headers: object, _type: str, id_: str, *, seconds: float) -> None:
        self.messages.append(Delivery(1, 1, BasicProperties(type=CDR_TYPE, message_id=id_), body))


class FrontEnd:
    """Numbers and publishes IMs as a front end does, and counts them by its call detail records."""

    def __init__(self, chance: random.Random) -> None:
        self.published: list[Delivery] = []
        self.records: list[Delivery] = []
        self.reached: dict[UUID, int] = {}
        """Up to which number IMs of each agent may be on the queue."""
        self.ids: dict[Number, UUID] = {}
        """Of IMs, by their numbers."""
        self.confirmed: set[Number] = set()
        """Numbers that the broker has confirmed."""
        self.disowned: set[Number] = set()
        """Numbers of which it says that nothing was accepted under them."""
        self.refused: list[tuple[UUID, dict[str, Any], str]] = []
        """IMs that were answered 503."""
        self._chance = chance
        self._says_so = chance.random() < 0.7
        """True if it disowns IMs that the broker may have kept; front ends of before don't."""
        self._port = Port()
        self._cdr = CDR(SETTINGS, Policies(critical=True))  # type: ignore[arg-type] # stands in
        self._cdr._publisher = self._port  # type: ignore[assignment] # stands in
        self._waiting: list[tuple[CheckedIM, dict[str, Any]]] = []
        self.start()

    def start(self) -> None:
        """Be another agent from now on."""
        self._agent, self._seq = UUID(int=self._chance.getrandbits(128), version=4), 0

    @property
    def waits(self) -> bool:
        """Whether it has IMs that are not on the queue."""
        return bool(self._waiting or self.refused)

    def take_in(self, im_id: UUID, talk: dict[str, Any], body: str, *, archive: bool = True) -> None:
        """Accept an IM."""
        checked = CheckedIM(
            id=im_id, sent_at=time_of(im_id), sender=talk["sender"], recipients=talk["recipients"],
            conversation=talk["conversation"], content_type="text/plain", encoding="text", body=body,
            brought=True, size=100, client="test",
        )  # fmt: skip
        if archive:
            self._waiting.append((checked, talk))
        else:
            self._count(checked, talk, archive=False)
        if self._chance.random() < 0.4:
            self.publish()

    def publish(self) -> None:
        """Put what was accepted on the queue.

        If its confirm comes too late, or nobody knows whether it got there, it is refused or sent again, by
        another agent if nobody knows.
        """
        if group := self._waiting:
            self._waiting = []
            while (way := self._chance.choice(["confirmed"] * 6 + ["late", "lost", "kept"])) != "confirmed":
                if way != "lost":
                    self._put(group)
                numbers = (self._seq + 1, self._seq + len(group))
                if way == "late":
                    self._seq += len(group)
                    self._say(uncounted=(numbers,))
                else:
                    self._say(ended=True, uncounted=(numbers,) * self._says_so)
                    self.reached.setdefault(self._agent, 0)
                    self.start()
                if self._chance.random() < 0.3:
                    self.refused += [(im.id, talk, im.body) for im, talk in group]
                    return
            self.confirmed |= self._put(group)
            self._seq += len(group)
            for im, talk in group:
                self._count(im, talk)
        asyncio.run(self._cdr.drain())
        self.records, self._port.messages = self.records + self._port.messages, []

    def _count(self, im: CheckedIM, talk: dict[str, Any], *, archive: bool = True) -> None:
        rule = "internal-everyone"
        self._cdr.note_im(im, Decision(archive=archive, rule=rule, scope=talk["scope"], version=1))

    def _put(self, group: Sequence[tuple[CheckedIM, dict[str, Any]]]) -> set[Number]:
        """Put an AMQP message on the queue; some of it can't be read or stored, or the broker gives it up."""
        ims = [
            IM(
                id=im.id, sent_at=im.sent_at, content_type="text/plain", encoding="text", body=im.body,
                pool="pool1", agent=self._agent, seq=seq, policy_version=1, rule="internal-everyone", **talk,
            )
            for seq, (im, talk) in enumerate(group, self._seq + 1)
        ]  # fmt: skip
        properties = BasicProperties(type=IM_TYPE, headers=headers_of(ims))
        given_up = self._chance.random() < 0.2
        self.published.append(Delivery(1, 1, properties, b"\n".join(map(self._line, ims)), given_up))
        self.reached[self._agent] = self._seq + len(ims)
        numbered = {(im.agent, im.seq): im.id for im in ims}
        self.ids |= numbered
        return set(numbered)

    def _line(self, im: IM) -> bytes:
        match self._chance.randrange(12):
            case 0:
                return encode_ims([changed(im, body="a\0b")]).rstrip()  # the database refuses it
            case 1:
                return json.dumps(json.loads(encode_ims([im])) | {"seq": "one"}).encode()  # unreadable
        return encode_ims([im]).rstrip()

    def _say(self, **fields: Any) -> None:
        for first, last in fields.get("uncounted", ()):
            self.disowned |= {(self._agent, seq) for seq in range(first, last + 1)}
        statement = AgentStatement(
            agent=self._agent, pool="pool1", front_end="fe", confirmed=self._seq, at=EDGE, **fields
        )
        body = encode_statement(statement)
        self.published.append(Delivery(1, 1, BasicProperties(type=AGENT_TYPE), body))


def make_id_at(chance: random.Random) -> UUID:
    """Return an id of a time that is likely to be an edge, or of another IM."""
    milliseconds = round(EDGE.timestamp()) * 1000 + chance.choice(
        [*OFFSETS, chance.randint(-150_000, 150_000)]
    )
    return UUID(
        int=milliseconds << 80 | 7 << 76 | chance.getrandbits(12) << 64 | 2 << 62 | chance.getrandbits(62)
    )


def talk_at_random(chance: random.Random, front_ends: Sequence[FrontEnd]) -> dict[UUID, str]:
    """Have people send IMs, some again: to the same front end after its restart, or to another.

    What is refused comes again; or never, if the front ends have disowned what is on the queue of it.
    Returns the conversations by the IMs' ids.
    """
    conversations: dict[UUID, str] = {}
    for _ in range(30):
        talk, im_id, front_end = chance.choice(TALKS), make_id_at(chance), chance.choice(front_ends)
        conversations[im_id] = filed_key(talk["conversation"])
        archive = chance.random() < 0.9
        front_end.take_in(im_id, talk, "hello", archive=archive)
        if chance.random() < 0.1:
            front_end.publish()
            front_end.start()
        if chance.random() < 0.4:  # sometimes with another content
            body = chance.choice(["hello", "hello", "hello", "another"])
            chance.choice(front_ends).take_in(im_id, talk, body, archive=archive)
    while any(front_end.waits for front_end in front_ends):
        for front_end in front_ends:
            front_end.publish()
            refused, front_end.refused = front_end.refused, []
            for im_id, talk, body in refused:
                if chance.random() < 0.7 or not is_disowned(im_id, front_ends):
                    chance.choice(front_ends).take_in(im_id, talk, body)
    return conversations


def is_disowned(im_id: UUID, front_ends: Sequence[FrontEnd]) -> bool:
    """Return whether an IM is on the queue under no other numbers than those that count, or are disowned."""
    return all(
        number in front_end.confirmed | front_end.disowned
        for front_end in front_ends
        for number, each in front_end.ids.items()
        if each == im_id
    )


def store(chance: random.Random, archive: Archive, deliveries: Sequence[Delivery]) -> None:
    """Do what workers do, in batches, of which some come again; some messages the broker gives up then."""
    queue = list(deliveries) + chance.sample(deliveries, len(deliveries) // 3)
    chance.shuffle(queue)
    while queue:
        batch = [queue.pop() for _ in range(min(len(queue), chance.randint(1, 5)))]
        prepared = prepare_batch(archive, batch, SENDERS)
        if prepared is not None and append_prepared(prepared, Journal()):
            Settlement(SENDERS, batch=prepared.rest).settle(archive)
        else:
            Settlement(SENDERS, batch).settle(archive)
        if chance.random() < 0.1:
            queue.append(chance.choice(batch)._replace(given_up=True))


def look_after_parked(chance: random.Random, connection: psycopg.Connection, archive: Archive) -> None:
    """Have some of what is parked replayed, and some discarded."""
    for (number,) in connection.execute("SELECT id FROM archive.parked WHERE state = 'parked'").fetchall():
        if statement := chance.choice([REPLAY, DISCARD, None]):
            connection.execute(statement, [number])
    replay_all(archive, SENDERS)


def differing(connection: psycopg.Connection, since: datetime = SINCE, until: datetime = UNTIL) -> set[str]:
    """Return the conversations that differ."""
    query = "SELECT conversation FROM cdr.reconcile(%s, %s) WHERE differing > 0"
    return {name for (name,) in connection.execute(query, [since, until])}


class Kept:
    """The numbers in the archive, with the rows that hold them."""

    def __init__(self, connection: psycopg.Connection, front_ends: Sequence[FrontEnd]) -> None:
        self.ids = front_ends[0].ids | front_ends[1].ids
        self.confirmed = front_ends[0].confirmed | front_ends[1].confirmed
        self.disowned = front_ends[0].disowned | front_ends[1].disowned
        self.rows: dict[str, dict[Number, set[Any]]] = {}
        for table, query in NUMBERS.items():
            held = self.rows[table] = {}
            for row, agent, seq in connection.execute(query).fetchall():
                held.setdefault((agent, seq), set()).add(row)

    def counts(self, without: tuple[str, Any] = ("", None)) -> Counter[UUID]:
        """Return how often each IM counts, if one row were not there."""
        counts: dict[str, Counter[UUID]] = {}
        stored: set[UUID] = set()
        known: set[UUID] = set()
        for table, held in self.rows.items():
            numbers = {number for number, rows in held.items() if rows != {without[1]} or table != without[0]}
            counts[table] = Counter(self.ids[number] for number in numbers & self.confirmed)
            if table == "messages":
                stored = {self.ids[number] for number in numbers}
                known = {self.ids[number] for number in numbers - self.disowned}
        total = counts["messages"] + Counter({i: n for i, n in counts["duplicates"].items() if i in stored})
        return (total + counts["parked"]) | Counter(known)


@pytest.mark.parametrize("seed", range(3))
def test_all_agrees_until_a_row_is_deleted_by_hand(database: ArchiveDatabase, seed: int) -> None:
    chance = random.Random(seed)
    front_ends = [FrontEnd(chance), FrontEnd(chance)]
    conversations = talk_at_random(chance, front_ends)
    archive = Archive(database.url("lcs_archiving"))
    archive.ensure_partitions()
    records = Records(database.url("lcs_archiving"), IDLE)
    told = [delivery for front_end in front_ends for delivery in front_end.records]
    chance.shuffle(told)
    with psycopg.connect(database.url("postgres"), autocommit=True) as connection:
        connection.execute("SELECT archive.ensure_partitions(%s)", [EDGE])
        for deliveries in (told[::2], told[1::2], told[::3]):
            records.store_all(deliveries, SENDERS)
        published = [delivery for front_end in front_ends for delivery in front_end.published]
        half = len(published) // 2
        for deliveries in (published[:half], published[half:], published[::4]):
            store(chance, archive, deliveries)
            look_after_parked(chance, connection, archive)
        archive.close()
        records.close()

        reached = front_ends[0].reached | front_ends[1].reached
        found = connection.execute("SELECT agent, accepted, missing FROM archive.completeness").fetchall()
        assert sorted(found) == sorted((agent, count, 0) for agent, count in reached.items())
        counted = connection.execute(
            "SELECT sum(recorded), sum(archived), sum(parked), sum(discarded) FROM cdr.reconcile(%s, %s)",
            [SINCE, UNTIL],
        ).fetchone()
        assert counted is not None
        recorded, archived, parked, discarded = counted
        kept = Kept(connection, front_ends)
        assert min(counted) > 0
        assert recorded == archived + parked + discarded == len(kept.confirmed) == kept.counts().total()
        assert differing(connection) == set()
        assert connection.execute("SELECT cdr.count_unattributed(%s, 'now')", [SINCE]).fetchall() == [(0,)]
        for _ in range(20):
            since = EDGE + timedelta(milliseconds=chance.randint(-200_000, 200_000))
            until = since + timedelta(milliseconds=chance.randint(1, 200_000))
            assert differing(connection, since, until) == set(), (since, until)
        aside = {kept.ids[number] for number in kept.rows["parked"]}
        refused = set(kept.ids.values()) - set(kept.counts())
        for table, deletion in DELETIONS.items():
            for row in sorted(set().union(*kept.rows[table].values())):
                with connection.transaction(force_rollback=True):
                    connection.execute(deletion, [row])
                    gone = kept.counts() - kept.counts((table, row))
                    assert differing(connection) == {conversations[i] for i in gone}, (table, row)
                    assert gone or table != "messages" or row in aside | refused, "else it is kept twice"
