"""Call detail records in any order: the same activities make the same sessions, however they come."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pika.spec import BasicProperties

import archiving.migrations
from archiving.cdr.records import Records
from archiving.delivery import Delivery
from archiving.senders import Senders
from contract.cdr import CDR_TYPE, Activity, encode_activities
from tests.conftest import ArchiveDatabase

START = datetime(2026, 3, 1, 8, tzinfo=UTC)
ADA, BEN, EVE = "sip:ada@contoso.com", "sip:ben@contoso.com", "sip:eve@fabrikam.com"
IDLE = timedelta(minutes=5)

Session = tuple[Any, ...]
Message = tuple[UUID, Sequence[Activity]]


class Recorder:
    """What stores call detail records, and what is seen of them."""

    def __init__(self, connection: psycopg.Connection) -> None:
        """``connection``: the superuser's."""
        self._connection = connection

    def store(self, activities: Sequence[Activity], message: UUID | None = None) -> None:
        """Store them as one AMQP message's."""
        self._connection.execute(
            "SELECT cdr.log_activities(%s, %s::jsonb, %s)",
            [message or uuid4(), msgspec.json.encode(activities).decode(), IDLE],
        )

    def store_all(self, records: Records, messages: Sequence[Message]) -> None:
        """Store some AMQP messages as the worker does, together."""
        deliveries = [
            Delivery(0, 0, BasicProperties(type=CDR_TYPE, message_id=str(message)), encode_activities(some))
            for message, some in messages
        ]
        records.store_all(deliveries, Senders({}, trust_anonymous=True))

    def end_idle(self) -> None:
        """As the worker does now and then."""
        self._connection.execute("SELECT cdr.end_idle(%s)", [IDLE])

    def sessions(self) -> list[Session]:
        """Return all that is told of sessions but their numbers, once the idle are ended."""
        self.end_idle()
        found = self._connection.execute(
            "SELECT conversation, started_at, last_at, ended_at, ended, invited, scope, pool, caller, client,"
            " archived, passed::text, parties, sent, clients, unseen, attempts::text FROM cdr.session_list"
        ).fetchall()
        ids = self._connection.execute(
            "SELECT count(*) FROM cdr.activities AS a LEFT JOIN cdr.sessions AS s ON s.id = a.session_id"
            " WHERE s.id IS NULL"
        ).fetchone()
        assert ids == (0,), "an activity is of no session"
        return sorted(found, key=repr)

    def forget(self) -> None:
        """Begin anew."""
        self._connection.execute("TRUNCATE cdr.sessions, cdr.parties, cdr.activities, cdr.messages")


@pytest.fixture
def records(database: ArchiveDatabase) -> Iterator[Records]:
    """What a worker has with that database."""
    records = Records(database.url("lcs_archiving"), IDLE)
    yield records
    records.close()


@pytest.fixture
def recorder(database: ArchiveDatabase) -> Iterator[Recorder]:
    """A recorder on a database of its own."""
    with psycopg.connect(database.url("postgres"), autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET lock_timeout = '10s'")  # a test that would wait for ever fails
        yield Recorder(connection)


def activity(at: float, *, until: float | None = None, **fields: Any) -> Activity:
    """Return what ada did in a conversation with ben, some seconds after the start."""
    first, last = (START + timedelta(seconds=each) for each in (at, at if until is None else until))
    common: dict[str, Any] = {
        "conversation": "c1", "sender": ADA, "recipients": (BEN,), "scope": "internal", "pool": "pool1",
        "client": "test", "first": first, "last": last,
    }  # fmt: skip
    return Activity(**common | fields)


_KINDS: list[dict[str, Any]] = [
    {"archived": 1},
    {"archived": 1},
    {"archived": 2, "passed": {"internal-none": 1}},
    {"passed": {"internal-none": 2, "federated-none": 1}, "scope": "federated"},
    {"invited": True},
    {"invited": True, "unseen": ("msrp",)},
    {"invited": True, "ended": "488", "attempts": {"msrp": 1}},
    {"ended": "bye"},
    {"ended": "486"},
    {"attempts": {"file": 1}},
]
_PEOPLE: list[dict[str, Any]] = [
    {"sender": ADA, "recipients": (BEN,)},
    {"sender": BEN, "recipients": (ADA,), "client": "another"},
    {"sender": ADA, "recipients": (BEN, EVE)},
]


@st.composite
def _activities(draw: st.DrawFn) -> Activity:
    day = draw(st.sampled_from([0, 0, 0, 11 * 3600, 13 * 3600, -72 * 3600]))
    at = day + draw(st.integers(0, 20)) * draw(st.sampled_from([1, 100, 299, 301]))
    length = draw(st.sampled_from([0, 0, 1, 9, 700]))
    fields = draw(st.sampled_from(_KINDS)) | draw(st.sampled_from(_PEOPLE))
    if fields.get("invited") or "ended" in fields:
        length = 0
    conversation = draw(st.sampled_from(["c1", "c1", "c2"]))
    return activity(at, until=at + length, conversation=conversation, **fields)


@st.composite
def _chatter(draw: st.DrawFn) -> Activity:
    """Nearly always an IM or two among others, as front ends tell of most seconds."""
    at = draw(st.integers(0, 40)) / 4 + draw(st.sampled_from([0, 0, 0, 55, 290, 300, 310, 900]))
    kinds = [*_KINDS[:4] * 4, *_KINDS]
    fields = draw(st.sampled_from(kinds)) | draw(st.sampled_from(_PEOPLE))
    length = draw(st.sampled_from([0, 0.5, 1]))
    if fields.get("invited") or "ended" in fields:
        length = 0
    return activity(at, until=at + length, conversation=draw(st.sampled_from(["c1", "c1", "c2"])), **fields)


def in_order(activities: Sequence[Activity]) -> list[Activity]:
    """Return activities as they happened: a session begins before what is said in it."""
    return sorted(activities, key=lambda each: (each.first, not each.invited, each.ended))


_some = st.lists(_activities(), min_size=1, max_size=12) | st.lists(_chatter(), min_size=1, max_size=20)


def _batches(data: st.DataObject, messages: list[Message]) -> Iterator[list[Message]]:
    cuts = data.draw(st.lists(st.integers(0, len(messages)), max_size=2))
    for low, high in pairwise([0, *sorted(cuts), len(messages)]):
        yield messages[low:high]


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data(), activities=_some)
def test_activities_in_any_order_make_the_sessions_that_they_make_in_order(
    recorder: Recorder, records: Records, data: st.DataObject, activities: list[Activity]
) -> None:
    recorder.forget()
    for each in in_order(activities):
        recorder.store([each])
    expected = recorder.sessions()
    recorder.forget()
    shuffled = data.draw(st.permutations(activities))
    cuts = data.draw(st.lists(st.integers(0, len(shuffled)), max_size=4))
    messages: list[Message] = [
        (uuid4(), shuffled[low:high]) for low, high in pairwise([0, *sorted(cuts), len(shuffled)])
    ]
    again = data.draw(st.lists(st.sampled_from(messages), max_size=2))
    for batch in _batches(data, [*messages, *again]):
        if data.draw(st.booleans()):
            recorder.store_all(records, batch)
        else:  # a worker of before, or one that tells a message apart
            for message, some in batch:
                recorder.store(some, message)
        if data.draw(st.booleans()):
            recorder.end_idle()
    assert recorder.sessions() == expected


def test_in_order_nothing_is_put_together_anew(
    recorder: Recorder, records: Records, database: ArchiveDatabase
) -> None:
    """So what every IM costs does not depend on how long a session is."""
    with psycopg.connect(database.url("postgres"), autocommit=True) as connection:
        connection.execute(
            "CREATE OR REPLACE FUNCTION cdr.insert_activity(activity jsonb, idle interval) RETURNS void"
            " LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'out of order: %', activity; END $$"
        )
    both: list[dict[str, Any]] = [
        {"sender": ADA, "recipients": (BEN,)},
        {"sender": BEN, "recipients": (ADA,)},
    ]
    recorder.store([activity(0, invited=True)])
    for second in range(1, 50):  # front ends sum up a second of each, and one is half a second behind
        recorder.store([activity(second, until=second + 0.9, archived=1, **both[0])])
        recorder.store([activity(second - 0.5, until=second + 0.4, archived=1, **both[1])])
    recorder.store([activity(60, ended="bye")])
    [(_, started, _, ended, how, *_)] = recorder.sessions()
    assert (ended - started, how) == (timedelta(seconds=60), "bye")
    for second in range(100, 150, 5):
        batch = [[activity(second + number, archived=1, **each) for each in both] for number in range(5)]
        recorder.store_all(records, [(uuid4(), some) for some in batch])
    assert [each[10] for each in recorder.sessions()] == [98, 100]
    assert database.rows("SELECT count(*) FROM cdr.activities WHERE parts IS NOT NULL") == [(20,)]


def test_a_call_whose_refusal_overtakes_its_invite_is_ended(recorder: Recorder) -> None:
    for number in range(40):
        of_one: dict[str, Any] = {"conversation": f"call {number}"}
        invite = activity(number, invited=True, **of_one)
        refusal = activity(number + 0.2, ended="486", **of_one)
        for each in (refusal, invite) if number % 3 == 0 else (invite, refusal):
            recorder.store([each])
        recorder.end_idle()
    sessions = recorder.sessions()
    assert len(sessions) == 40
    assert {(each[4], each[3] - each[1]) for each in sessions} == {("486", timedelta(seconds=0.2))}


def test_ending_idle_sessions_waits_for_no_other_worker(
    recorder: Recorder, database: ArchiveDatabase
) -> None:
    """Else two that take rows in different orders would wait for each other."""
    recorder.store([activity(0, archived=1, conversation=each) for each in ("c1", "c2")])
    with psycopg.connect(database.url("postgres")) as another:
        another.execute("SELECT FROM cdr.sessions WHERE conversation = 'c1' FOR UPDATE")
        recorder.end_idle()
        assert database.rows("SELECT conversation FROM cdr.sessions WHERE ended = 'idle'") == [("c2",)]
    assert [each[4] for each in recorder.sessions()] == ["idle", "idle"]


def test_an_end_without_a_begin_is_shown_to_nobody(recorder: Recorder) -> None:
    recorder.store([activity(0, ended="bye")])
    recorder.store([activity(9, archived=1)])
    [session] = recorder.sessions()
    assert (session[4], session[10]) == ("idle", 1)


def test_a_sum_of_three_days_of_an_older_front_end_is_taken(recorder: Recorder) -> None:
    for each in (activity(-72 * 3600, until=0, archived=4), activity(-24 * 3600, archived=1)):
        recorder.store([each])
    [session] = recorder.sessions()
    assert (session[2] - session[1], session[10]) == (timedelta(hours=72), 5)


def test_sessions_of_an_older_version_go_on(database: ArchiveDatabase) -> None:
    database.begin_anew(archiving.migrations, "0020")
    told = [
        activity(0, invited=True),
        activity(1, archived=2),
        activity(2, passed={"internal-none": 1}, sender=BEN, recipients=(ADA,)),
        activity(0, archived=1, conversation="c2"),
        activity(0, invited=True, conversation="c3"),
        activity(5, ended="486", conversation="c3"),
    ]
    statement = "SELECT cdr.log_activities(gen_random_uuid(), %s, %s)"
    with psycopg.connect(database.url("lcs_archiving")) as connection:
        connection.execute(statement, [json.dumps(msgspec.to_builtins(told)), IDLE])
    archiving.migrations.migrate(database.url("lcs_owner"))
    later = [
        activity(9, ended="bye"),
        activity(3, archived=1),
        activity(-100, archived=1, conversation="c2"),
        activity(4, archived=1, conversation="c3"),
    ]
    with psycopg.connect(database.url("postgres"), autocommit=True) as connection:
        recorder = Recorder(connection)
        for each in later:
            recorder.store([each])
        first, second, third = recorder.sessions()
    assert (first[4], first[10], first[11], first[13]) == ("bye", 3, '{"internal-none": 1}', [3, 1])
    assert (second[1], second[10]) == (START - timedelta(seconds=100), 2)
    assert (third[3], third[4], third[10]) == (START + timedelta(seconds=5), "486", 1)
