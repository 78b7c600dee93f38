"""What a message is to blame for is found out by evidence: others go on, none is blamed for a database."""

import contextlib
import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pika.spec import BasicProperties

from archiving.archive import Archive
from contract.message import (
    AGENT_TYPE,
    IM,
    IM_TYPE,
    AgentStatement,
    decode_im,
    encode_ims,
    encode_statement,
    headers_of,
)
from contract.topology import INGEST_EXCHANGE, QUEUE
from deploy.credentials import FRONT_END_USER
from deploy.local.process import wait_for
from tests.conftest import ArchiveDatabase, Vhost
from tests.integration.archiving_service import (
    HASTY,
    changed,
    finish,
    make_ims,
    parked,
    publish,
    running_worker,
    stored_ids,
    wait_until_empty,
    wait_until_stored,
)

CURSE = """
CREATE FUNCTION public.curse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN NEW; END $$;
CREATE TRIGGER curse BEFORE INSERT ON {table} FOR EACH ROW {when} EXECUTE FUNCTION public.curse();
"""
_TERMINATE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename = 'lcs_archiving'"
)
LIFT = "DROP FUNCTION public.curse CASCADE"


def execute(database: ArchiveDatabase, statements: str) -> None:
    """Do something as the superuser."""
    with psycopg.connect(database.url("postgres"), autocommit=True) as connection:
        connection.execute(statements.encode())


def curse(database: ArchiveDatabase, table: str, code: str, when: str = "") -> None:
    """Have the database refuse rows: with an error of a class, or by ending the session."""
    body = f"RAISE EXCEPTION 'by the curse' USING ERRCODE = '{code}';"
    if code == "of any class":
        body = "RAISE EXCEPTION 'by the curse' USING ERRCODE = substr(NEW.body, 8);"
    if code == "ends":
        body = "PERFORM pg_terminate_backend(pg_backend_pid());"
    execute(database, CURSE.format(table=table, body=body, when=f"WHEN ({when})" if when else ""))
    execute(database, "ALTER FUNCTION public.curse() SECURITY DEFINER")


def put(vhost: Vhost, messages: list[tuple[bytes, BasicProperties]]) -> None:
    """Put AMQP messages on the queue as they are."""
    with vhost.connect("frontend") as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for body, properties in messages:
            channel.basic_publish(INGEST_EXCHANGE, QUEUE, body, properties, mandatory=True)


def test_numbers_that_no_agent_reaches_stop_nothing_and_are_not_accounted_for(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    agent = uuid4()
    good = make_ims(5, agent=agent)
    odd = []
    bodies = []
    for place, (first, count) in enumerate(
        itertools.product(
            (2**63 - 3, 2**63 - 1, 2**62, 10**15, -5, 0), (5, 1, -1, 0, 2**31, 10**6, 2**63 - 1)
        )
    ):
        headers: dict[str, Any] = headers_of(good) | {"count": count, "first_seq": first}
        [im] = make_ims(1, agent=agent, first_seq=6 + place)
        odd.append(im)
        for type_, body in (
            (IM_TYPE, b"unreadable %d" % place),
            (IM_TYPE, b"\n" * place),
            (IM_TYPE, encode_ims([im])),
            ("lcs.im.v99", b"of another contract %d" % place),
        ):
            bodies.append((body, BasicProperties(type=type_, headers=headers, user_id=FRONT_END_USER)))
    put(vhost, bodies)
    publish(vhost, good)
    with running_worker(vhost, database, tmp_path, patch=HASTY) as worker:
        wait_until_stored(database, [*odd, *good])
        wait_for(lambda: len(parked(database)) == 3 * len(odd), "the unreadable ones")
        finish(worker, vhost)
    assert len(parked(database)) == 3 * len(odd)
    assert all("not accounted for" in reason for body, reason, *_ in parked(database) if b"a" not in body)
    assert database.rows("SELECT accepted, archived, parked, missing FROM archive.completeness") == [
        (5 + len(odd), 5 + len(odd), 0, 0)
    ]


def test_an_im_with_numbers_out_of_bounds_is_parked_and_the_rest_is_stored(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    wrong: list[dict[str, object]] = [
        {"seq": 2**63 - 1}, {"seq": 2**70}, {"seq": 10**14}, {"seq": 0}, {"seq": -7},
        {"policy_version": 2**63}, {"policy_version": 2**100}, {"policy_version": -(2**63) - 1},
    ]  # fmt: skip
    ims = make_ims(50)
    bad = [changed(im, **fields) for im, fields in zip(ims[20:], wrong, strict=False)]
    good = ims[:20] + ims[20 + len(bad) :]
    publish(vhost, ims, body=encode_ims([*ims[:20], *bad, *ims[20 + len(bad) :]]))
    with running_worker(vhost, database, tmp_path, patch=HASTY) as worker:
        wait_until_stored(database, good)
        wait_for(lambda: len(parked(database)) == len(bad), "the bad ones")
        finish(worker, vhost)
    assert sorted(row[0] for row in parked(database)) == sorted(encode_ims([im]).rstrip() for im in bad)
    assert database.rows("SELECT accepted, archived, parked FROM archive.completeness") == [(50, 42, 3)]


def test_a_statement_that_no_agent_makes_is_parked(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    ims = make_ims(3)
    statements = [
        encode_statement(
            AgentStatement(
                agent=ims[0].agent, pool="pool1", front_end="fe", confirmed=confirmed, at=ims[0].sent_at
            )
        )
        for confirmed in (2**63 - 1, 2**63, 2**80, 10**14, -1)
    ]
    far = datetime.max.replace(tzinfo=timezone(-timedelta(hours=14)))
    odd = AgentStatement(
        agent=ims[0].agent, pool="pool1", front_end="fe", confirmed=1, at=ims[0].sent_at, ended=True
    )
    statements += [
        encode_statement(msgspec.structs.replace(odd, **{field: far})) for field in ("at", "confirmed_at")
    ]
    for statement in statements:
        publish(vhost, ims, body=statement, type_=AGENT_TYPE)
    publish(vhost, ims)
    with running_worker(vhost, database, tmp_path, patch=HASTY) as worker:
        wait_until_stored(database, ims)
        wait_for(lambda: len(parked(database)) == len(statements), "the statements")
        finish(worker, vhost)
    assert sorted(row[0] for row in parked(database)) == sorted(statements)
    assert database.rows("SELECT accepted, missing FROM archive.completeness") == [(3, 0)]


CODES = ("22003", "53100", "57014", "XX000", "42501", "40P01", "P0001", "55P03", "25006", "08006")


@pytest.mark.parametrize("code", ["of any class", "ends"])
def test_an_im_that_the_database_alone_refuses_is_parked_whatever_its_error(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path, code: str
) -> None:
    curse(database, "archive.messages", code, "NEW.body LIKE 'cursed %'")
    ims = make_ims(60)
    for place, body in enumerate(CODES if code != "ends" else ("twice", "it ends")):
        ims[5 * place + 3] = changed(ims[5 * place + 3], body=f"cursed {body}")
    publish(vhost, ims[:20])
    publish(vhost, ims[20:])
    good = [im for im in ims if im.body == "hello"]
    with running_worker(vhost, database, tmp_path, patch=HASTY) as worker:
        wait_until_stored(database, good, seconds=60)
        wait_for(lambda: len(parked(database)) == 60 - len(good), "the cursed ones", seconds=60)
        finish(worker, vhost)
    assert all("by the curse" in reason or code == "ends" for _, reason, *_ in parked(database))
    assert database.rows("SELECT accepted, archived, parked, missing FROM archive.completeness") == [
        (60, len(good), 60 - len(good), 0)
    ]


def test_an_im_that_is_alone_on_the_queue_and_always_fails_is_parked(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    curse(database, "archive.messages", "58000", "NEW.body = 'cursed'")
    publish(vhost, make_ims(1, body="cursed"))
    with running_worker(vhost, database, tmp_path, patch=HASTY) as worker:
        wait_for(lambda: len(parked(database)) == 1, "the cursed one", seconds=60)
        finish(worker, vhost)


def test_a_database_that_is_there_is_not_waited_for_while_an_im_is_under_doubt(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    curse(database, "archive.messages", "ends", "NEW.body = 'cursed'")
    ims = make_ims(40)
    bad = ims[17] = changed(ims[17], body="cursed")
    publish(vhost, ims)
    with running_worker(vhost, database, tmp_path) as worker:
        wait_for(lambda: len(parked(database)) == 1, "the cursed one", seconds=60)
        wait_until_stored(database, [im for im in ims if im is not bad])
        said = worker.log.read_bytes()
    # Of the session that the batch ended nothing was known; of all others that it is the IM.
    assert (said.count(b"out of reach"), said.count(b"more evidence is needed") > 8) == (1, True)


@contextlib.contextmanager
def refusing(database: ArchiveDatabase, how: str, agent: object) -> Iterator[None]:
    """Have the database store nothing, or nothing of an agent's, for as long as it lasts."""
    if how in ("an agent's row is locked", "a table is locked"):
        role = f"ALTER ROLE lcs_archiving IN DATABASE {database.name}"
        execute(database, f"{role} SET lock_timeout = '50ms'")
        execute(database, _TERMINATE)
        with psycopg.connect(database.url("postgres")) as lock:
            if how == "a table is locked":
                lock.execute("LOCK TABLE archive.conversations IN EXCLUSIVE MODE")
            else:
                lock.execute("SELECT FROM archive.agents WHERE agent = %s FOR UPDATE", [agent])
            yield
        execute(database, f"{role} RESET lock_timeout")
        execute(database, _TERMINATE)
        return
    table, code = how.split()
    curse(database, table, code)
    yield
    execute(database, LIFT)


@pytest.mark.parametrize(
    "how",
    [
        *(f"archive.messages {code}" for code in ("22003", "23514", "53100", "ends")),
        *(f"archive.{table} 22003" for table in ("users", "participants", "publishes")),
        "an agent's row is locked",
        "a table is locked",
    ],
)
def test_while_nothing_can_be_stored_everything_waits_and_nothing_is_parked(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path, how: str
) -> None:
    first, *ims = make_ims(11)
    ims = [changed(im, sender=f"sip:{im.seq}@contoso.com", conversation=str(im.seq)) for im in ims]
    with running_worker(vhost, database, tmp_path, patch=HASTY) as worker:
        publish(vhost, [first])
        wait_until_stored(database, [first])
        with refusing(database, how, first.agent):
            for im in ims:
                publish(vhost, [im])
            if how == "archive.publishes 22003":  # without a trace an IM is stored all the same
                wait_until_stored(database, [first, *ims])
            else:
                log = worker.log
                wait_for(lambda: log.read_bytes().count(b"out of reach") >= 10, "ten tries", seconds=60)
                assert stored_ids(database) == [first.id]
        wait_until_stored(database, [first, *ims], seconds=60)
        finish(worker, vhost)
    assert parked(database) == []


@pytest.mark.parametrize("where", ["numbers.pack_row", "batch.decode_ims"])
def test_an_error_in_our_own_code_stops_nothing(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path, where: str
) -> None:
    module, _, function = where.partition(".")
    patch = (
        f"import re, archiving.{module} as module\n"
        f"whole = module.{function}\n"
        "def broken(what, *rest):\n"
        "    if error := re.search(r'cursed (\\w+)', repr(what)): raise eval(error[1])('oh')\n"
        "    return whole(what, *rest)\n"
        f"module.{function} = broken\n"
    )
    good = make_ims(30)
    errors = ["KeyError", "OverflowError", "OSError", "AttributeError", "MemoryError"]
    errors += ["RecursionError"] if where == "numbers.pack_row" else []
    bad = [make_ims(1, body=f"cursed {error}") for error in errors]
    publish(vhost, good[:15])
    for ims in bad:
        publish(vhost, ims)
    publish(vhost, good[15:])
    with running_worker(vhost, database, tmp_path, patch=HASTY + patch) as worker:
        wait_until_stored(database, good, seconds=60)
        wait_for(lambda: len(parked(database)) == len(bad), "the bad ones", seconds=60)
        finish(worker, vhost)
    assert sorted(row[0].rstrip() for row in parked(database)) == sorted(
        encode_ims(ims).rstrip() for ims in bad
    )
    assert all("oh" in reason for _, reason, *_ in parked(database))


@pytest.mark.parametrize("code", ["22003", "ends"])
def test_what_cannot_be_parked_as_it_came_is_parked_without_its_properties(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path, code: str
) -> None:
    curse(database, "archive.parked", code, "NEW.properties->'headers' ? 'cursed'")
    good = make_ims(5)
    headers: dict[str, Any] = {"cursed": "yes"}
    properties = BasicProperties(type=IM_TYPE, headers=headers, user_id=FRONT_END_USER)
    put(vhost, [(b"what nobody can read", properties)])
    publish(vhost, good)
    with running_worker(vhost, database, tmp_path, patch=HASTY):
        wait_until_stored(database, good, seconds=60)
        wait_until_empty(vhost)
    [(body, reason, *_)] = parked(database)
    assert (body, "unreadable" in reason) == (b"what nobody can read", True)


@pytest.mark.parametrize("code", ["22003", "ends"])
def test_a_replay_that_always_fails_holds_up_neither_the_others_nor_ims(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path, code: str
) -> None:
    curse(database, "archive.messages", code, "NEW.body = 'cursed'")
    bad, *others = make_ims(4)
    bad = changed(bad, body="cursed")
    with psycopg.connect(database.url("postgres")) as connection:
        for place, im in enumerate([bad, *others]):
            properties = {"type": IM_TYPE, "user_id": FRONT_END_USER, "headers": headers_of([im])}
            connection.execute(
                "INSERT INTO archive.parked (key, reason, body, properties, ims, state)"
                " VALUES (%s, 'a test', %s, %s::text::jsonb, 1, 'replaying')",
                [b"%d" % place, encode_ims([im]), msgspec.json.encode(properties).decode()],
            )
    ims = make_ims(5)
    publish(vhost, ims)
    with running_worker(vhost, database, tmp_path, patch=HASTY) as worker:
        wait_until_stored(database, [*others, *ims], seconds=60)
        replaying = "SELECT FROM archive.parked WHERE state = 'replaying'"
        wait_for(lambda: database.rows(replaying) == [], "the replays", seconds=60)
        finish(worker, vhost)
    assert [state for *_, state in parked(database)] == ["parked", "replayed", "replayed", "replayed"]


_NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 1, -1, 2**31, 2**53, 2**63 - 1, 2**63 - 3])
_TEXTS = st.text(max_size=20) | st.sampled_from(["\0", "a\0b", "x" * 5000, "\U0001f600" * 300, ""])
_HEADERS = st.recursive(
    st.none() | st.booleans() | _NUMBERS | st.floats() | _TEXTS | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_NAMES = st.sampled_from(
    ["count", "agent", "pool", "first_seq", "published", "confirmed", "traceparents", "x-odd"]
)
_HUGE = st.sampled_from([2**63 - 1, 2**63, 2**64, -(2**63), -(2**70), 2**100, 10**14, 0, -1, 1e300])


@st.composite
def mutated(draw: st.DrawFn) -> tuple[list[IM], bytes]:
    """Return IMs and a body that holds some of them, with a few that are no IMs any more."""
    ims = make_ims(draw(st.integers(1, 4)))
    lines = []
    for im in ims:
        document = msgspec.json.decode(encode_ims([im]))
        for field in draw(st.lists(st.sampled_from(sorted(document)), max_size=2)):
            odd = _TEXTS | _HUGE | st.none() | st.lists(_TEXTS, max_size=3)
            if field not in ("id", "sent_at") or draw(st.booleans()):
                document[field] = draw(odd)
        lines.append(msgspec.json.encode(document))
    body = b"\n".join(lines)
    how = draw(st.integers(0, 5))
    if how == 0:
        place = draw(st.integers(0, len(body)))
        body = body[:place] + draw(st.binary(max_size=8)) + body[place + 1 :]
    elif how == 1:
        body += b"\n" + b"[" * 5000
    return ims, body


def test_whatever_comes_good_ims_are_stored_all_else_is_parked_and_the_worker_goes_on(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    good: list[IM] = []
    bodies: list[bytes] = []
    messages: list[tuple[bytes, BasicProperties]] = []

    @settings(
        max_examples=150,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    @given(
        mutated(),
        st.dictionaries(_NAMES, _HEADERS, max_size=4),
        st.sampled_from([IM_TYPE] * 5 + [AGENT_TYPE, "?"]),
    )
    def make(made: tuple[list[IM], bytes], odd: dict[str, Any], type_: str) -> None:
        ims, body = made
        headers = headers_of(ims) | odd
        try:
            BasicProperties(headers=headers).encode()
        except Exception:  # it can't be sent
            return
        bodies.append(body)
        messages.append((body, BasicProperties(type=type_, headers=headers, user_id=FRONT_END_USER)))
        [im] = make_ims(1)
        good.append(im)
        messages.append(
            (
                encode_ims([im]),
                BasicProperties(type=IM_TYPE, headers=headers_of([im]), user_id=FRONT_END_USER),
            )
        )

    def lost() -> list[bytes]:
        stored = set(stored_ids(database))
        kept = {bytes(row[0]) for row in parked(database)}

        def is_safe(line: bytes) -> bool:
            try:
                return line in kept or decode_im(line).id in stored
            except Exception:
                return False

        return [
            body
            for body in bodies
            if body not in kept
            and not all(is_safe(line) for line in body.split(b"\n") if line.strip(b" \t\r"))
        ]

    make()
    put(vhost, messages)
    with running_worker(vhost, database, tmp_path, patch=HASTY) as worker:
        wait_for(lambda: {im.id for im in good} <= set(stored_ids(database)), "the good ones", seconds=120)
        wait_for(lambda: lost() == [], "all else to be parked", seconds=60, every=0.5)
        wait_until_empty(vhost)
        assert worker.alive
    assert database.rows("SELECT max(accepted) <= 1e13 FROM archive.completeness") == [(True,)]


@pytest.mark.parametrize("code", ["58000", "ends"])
def test_an_agent_that_the_database_refuses_stops_only_its_own_ims(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path, code: str
) -> None:
    bad, good = make_ims(1), make_ims(5)
    curse(database, "archive.agents", code, f"NEW.agent = '{bad[0].agent}'")
    statement = AgentStatement(
        agent=bad[0].agent, pool="pool1", front_end="fe", confirmed=1, at=bad[0].sent_at
    )
    publish(vhost, bad)
    publish(vhost, bad, body=encode_statement(statement), type_=AGENT_TYPE)
    publish(vhost, good)
    with running_worker(vhost, database, tmp_path, patch=HASTY):
        wait_until_stored(database, good, seconds=60)
        wait_for(lambda: len(parked(database)) == 2, "the bad ones", seconds=60)
        wait_until_empty(vhost)


def test_rehearsals_use_up_no_numbers_of_which_there_are_few(database: ArchiveDatabase) -> None:
    with contextlib.closing(Archive(database.url("lcs_archiving"))) as archive:
        for number in range(3):
            archive.rehearse()
            [im] = make_ims(1)
            archive.rehearse([changed(im, pool=f"new {number}", rule=f"new {number}")])
    for kind in ("pools", "rules", "content_types"):
        query = f"SELECT max(id) = (SELECT last_value FROM archive.{kind}_id_seq) FROM archive.{kind}"  # noqa: S608
        assert database.rows(query) == [(True,)]
