"""Call detail records: what a line is to blame for is found out by evidence, as for IMs."""

import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import uuid4

import msgspec
import psycopg
import pytest
from pika.spec import BasicProperties

from archiving.cdr.worker import CDRWorker
from archiving.config import CDRSettings
from archiving.delivery import Delivery
from contract.cdr import CDR_TYPE, decode_activity, encode_activities
from deploy.local.process import Process, wait_for
from tests.conftest import ArchiveDatabase, Vhost
from tests.integration.archiving_service import HASTY, worker_environment
from tests.integration.test_cdr import activity, publish
from tests.integration.test_evidence import LIFT, curse, execute

SESSIONS = "SELECT conversation FROM cdr.sessions ORDER BY 1"
PARKED = "SELECT body, reason FROM archive.parked"


@pytest.fixture
def worker(vhost: Vhost, database: ArchiveDatabase, tmp_path: Path) -> Iterator[Process]:
    """The worker of call detail records."""
    program = f"{HASTY}from archiving.__main__ import main; import sys; sys.argv[1:] = ['cdr']; main()"
    process = Process(
        "cdr", [sys.executable, "-c", program], tmp_path / "cdr", worker_environment(vhost, database)
    )
    yield process
    process.stop()


def test_a_record_that_ends_the_session_is_parked_alone_and_its_neighbours_are_stored_once(
    vhost: Vhost, database: ArchiveDatabase, worker: Process
) -> None:
    curse(database, "cdr.sessions", "ends", "NEW.conversation LIKE 'cursed%'")
    mixed = ("ours", "cursed 1", "our second", "cursed 2", "our third")
    publish(vhost, *(activity(archived=1, conversation=each) for each in mixed))
    publish(vhost, activity(archived=1, conversation="behind it"))
    stored = "SELECT conversation, archived FROM cdr.sessions ORDER BY 1"
    wait_for(lambda: ("behind it", 1) in database.rows(stored), "what is behind it", seconds=90)
    names = ["behind it", "our second", "our third", "ours"]
    assert database.rows(stored) == [(name, 1) for name in names]
    kept = database.rows(f"{PARKED} ORDER BY body")
    assert [decode_activity(bytes(body)).conversation for body, _ in kept] == ["cursed 1", "cursed 2"]  # type: ignore[call-overload] # bytes
    assert all("cannot be stored" in str(reason) for _, reason in kept)


def test_what_can_be_stored_by_parts_but_never_whole_is_parked_whole_and_holds_up_nothing(
    vhost: Vhost, database: ArchiveDatabase, worker: Process
) -> None:
    curse(database, "archive.parked", "58000", "NEW.body = 'unreadable'")
    publish(vhost, body=encode_activities([activity(archived=1, conversation="good")]) + b"\nunreadable")
    publish(vhost, activity(archived=1, conversation="behind it"))
    wait_for(lambda: database.rows(SESSIONS) == [("behind it",)], "what is behind it", seconds=90)
    [(body, reason)] = database.rows(PARKED)
    assert bytes(body).endswith(b"\nunreadable")  # type: ignore[call-overload] # bytes
    assert "by the curse" in str(reason)


def test_a_worker_told_to_end_acknowledges_nothing_behind_what_it_gives_up(
    database: ArchiveDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An acknowledgement counts for all before it: what was not stored would be gone."""
    curse(database, "cdr.sessions", "58000", "NEW.conversation = 'cursed'")
    settings = CDRSettings(amqp_url="amqp://nowhere", database_url=database.url("lcs_archiving"))
    worker = CDRWorker(settings)
    acknowledged: list[int] = []
    monkeypatch.setattr(worker._consumer, "acknowledge", lambda delivery: acknowledged.append(delivery.tag))
    names = ["first", "cursed", "behind it"]
    worker._held = [
        Delivery(
            0, tag, BasicProperties(type=CDR_TYPE, message_id=str(uuid4()), user_id="frontend~pool1"),
            encode_activities([activity(archived=1, conversation=name)]),
        )
        for tag, name in enumerate(names, 1)
    ]  # fmt: skip
    worker.stop()
    worker._store_held()
    assert acknowledged == [1]
    assert worker._session.current is None, "it is told apart in another session"
    assert database.rows(PARKED) == []


@pytest.mark.parametrize("table", ["cdr.sessions", "cdr.parties", "cdr.activities"])
@pytest.mark.parametrize("code", ["22003", "23514"])
def test_while_no_record_can_be_stored_all_wait_and_none_is_parked(
    vhost: Vhost, database: ArchiveDatabase, worker: Process, table: str, code: str
) -> None:
    curse(database, table, code)
    publish(vhost, activity(archived=1))
    log = worker.log
    wait_for(lambda: log.read_bytes().count(b"out of reach") >= 10, "ten tries", seconds=60)
    assert database.rows(PARKED) == []
    execute(database, LIFT)
    wait_for(lambda: database.rows(SESSIONS) == [("c1",)], "the session", seconds=60)
    assert database.rows(PARKED) == []


def test_a_time_that_nobody_can_read_again_is_parked(
    vhost: Vhost, database: ArchiveDatabase, worker: Process
) -> None:
    early = datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))
    publish(vhost, activity(archived=1), activity(archived=1, conversation="c2"))
    wrong = msgspec.structs.replace(activity(archived=1), first=early, last=early)
    publish(vhost, wrong, activity(archived=1, conversation="c3"))
    wait_for(lambda: database.rows(SESSIONS) == [("c1",), ("c2",), ("c3",)], "the others")
    with psycopg.connect(database.url("lcs_admin")) as connection:
        assert len(connection.execute("SELECT * FROM cdr.session_list").fetchall()) == 3
    assert len(database.rows(PARKED)) == 1
