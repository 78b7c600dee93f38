"""The archiving service beside a real broker and a real database."""

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from contract.message import (
    AGENT_TYPE,
    AgentStatement,
    encode_statement,
    make_id,
    time_of,
)
from contract.topology import QUEUE
from deploy.local.process import wait_for
from tests.conftest import ArchiveDatabase, Vhost
from tests.integration.archiving_service import (
    KILL_AT,
    changed,
    make_ims,
    publish,
    run_command,
    running_worker,
    stored_ids,
    wait_until_empty,
    wait_until_stored,
    worker_environment,
)


def test_an_im_is_committed_then_acknowledged(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    ims = make_ims(3, body="Test Archiving Messages")
    publish(vhost, ims)
    with running_worker(vhost, database, tmp_path):
        wait_until_stored(database, ims)
        wait_until_empty(vhost)
    rows = database.rows(
        "SELECT sender, recipients, conversation, scope, content_type, body, pool, seq, rule, sent_at"
        " FROM archive.archived_messages ORDER BY seq LIMIT 1"
    )
    assert rows == [
        (
            "sip:yannis@contoso.com", ["sip:administrator@contoso.com"], "c1", "internal", "text/plain",
            "Test Archiving Messages", "pool1", 1, "internal-everyone", ims[0].sent_at,
        )
    ]  # fmt: skip


def test_what_is_not_text_is_kept_byte_for_byte(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    [im] = make_ims(1, body="AP/+")
    publish(vhost, [changed(im, encoding="base64", content_type="application/octet-stream")])
    with running_worker(vhost, database, tmp_path):
        wait_until_stored(database, [im])
    assert database.rows("SELECT body, content FROM archive.messages") == [(None, b"\x00\xff\xfe")]


def test_a_worker_killed_between_commit_and_acknowledgement_leaves_no_duplicate(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    ims = make_ims(50)
    publish(vhost, ims)
    patch = KILL_AT + "from archiving.consumer import Consumer; Consumer.acknowledge = die"
    with running_worker(vhost, database, tmp_path, patch=patch) as worker:
        assert worker.popen.wait(30) == -signal.SIGKILL
    assert stored_ids(database) == sorted(im.id for im in ims)
    wait_for(lambda: vhost.depth(QUEUE) == 1, "the message back on the queue")
    with running_worker(vhost, database, tmp_path):
        wait_until_empty(vhost)
    assert stored_ids(database) == sorted(im.id for im in ims)
    assert database.rows("SELECT archived, missing FROM archive.completeness") == [(50, 0)]


def test_a_worker_killed_before_the_commit_loses_nothing(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    ims = make_ims(50)
    publish(vhost, ims)
    patch = KILL_AT + "from archiving.archive import Archive; Archive.append = Archive.store = die"
    with running_worker(vhost, database, tmp_path, patch=patch) as worker:
        assert worker.popen.wait(30) == -signal.SIGKILL
    assert stored_ids(database) == []
    with running_worker(vhost, database, tmp_path):
        wait_until_stored(database, ims)


def test_a_worker_told_to_end_stores_what_it_took_and_exits_0(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    with running_worker(vhost, database, tmp_path) as worker:
        ims = make_ims(2000)
        for start in range(0, 2000, 10):
            publish(vhost, ims[start : start + 10])
        assert worker.stop() == 0
    stored = set(stored_ids(database))
    waiting = vhost.depth(QUEUE)
    assert len(stored) + 10 * waiting == 2000
    with running_worker(vhost, database, tmp_path):
        wait_until_stored(database, ims)


def test_a_database_that_went_away_gets_everything_when_it_is_back(
    vhost: Vhost, own_database: ArchiveDatabase, tmp_path: Path
) -> None:
    ims = make_ims(300)
    with running_worker(vhost, own_database, tmp_path):
        publish(vhost, ims[:100])
        wait_until_stored(own_database, ims[:100])
        own_database.server.kill()
        publish(vhost, ims[100:])
        wait_for(
            lambda: b"database out of reach" in (tmp_path / "worker.log").read_bytes(), "the worker to notice"
        )
        own_database.server.start()
        wait_until_stored(own_database, ims)
    assert own_database.rows("SELECT archived, missing FROM archive.completeness") == [(300, 0)]


def test_a_broker_that_was_killed_and_started_goes_on(
    own_broker: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    ims = make_ims(300)
    publish(own_broker, ims[:100])
    with running_worker(own_broker, database, tmp_path):
        wait_until_stored(database, ims[:100])
        own_broker.broker.kill()
        own_broker.broker.start()
        publish(own_broker, ims[100:])
        wait_until_stored(database, ims)
        wait_until_empty(own_broker)


def test_a_consumer_that_gets_nothing_though_ims_wait_connects_again(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    deaf = """
from pika.adapters.blocking_connection import BlockingChannel
consume, asked = BlockingChannel.basic_consume, []
def consume_deaf(channel, queue, *arguments, **named):
    asked.append(queue)
    return consume(channel, "lcslog.parked" if len(asked) == 1 else queue, *arguments, **named)
BlockingChannel.basic_consume = consume_deaf
"""
    ims = make_ims(3)
    publish(vhost, ims)
    with running_worker(vhost, database, tmp_path, patch=deaf):
        wait_until_stored(database, ims)
        wait_until_empty(vhost)


def test_a_connection_that_fails_as_nobody_foresaw_is_made_anew(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    failing = """
from pika import BlockingConnection
process, calls = BlockingConnection.process_data_events, []
def fail_once(connection, *arguments, **named):
    calls.append(connection)
    if len(calls) == 2:
        raise KeyError("something inside pika")
    return process(connection, *arguments, **named)
BlockingConnection.process_data_events = fail_once
"""
    ims = make_ims(3)
    publish(vhost, ims)
    with running_worker(vhost, database, tmp_path, patch=failing):
        wait_until_stored(database, ims)
        wait_until_empty(vhost)


def test_an_agents_last_word_shows_what_never_came(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    ims = make_ims(10)
    publish(vhost, ims[:3])
    publish(vhost, ims[5:9])
    statement = AgentStatement(
        agent=ims[0].agent, pool="pool1", front_end="fe1", confirmed=10, ended=True, at=ims[0].sent_at
    )
    publish(vhost, ims, body=encode_statement(statement), type_=AGENT_TYPE)
    with running_worker(vhost, database, tmp_path):
        wait_until_empty(vhost)
    rows = database.rows(
        "SELECT front_end, accepted, archived, missing, missing_numbers::text, ended_at"
        " FROM archive.completeness"
    )
    assert rows == [("fe1", 10, 7, 3, "{[4,6),[10,11)}", ims[0].sent_at)]


def test_a_wild_date_has_a_place_and_moves_when_its_month_gets_one(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    past = make_id(1_000_000_000_000)  # September 2001
    [im] = make_ims(1)
    im = changed(im, id=past, sent_at=time_of(past))
    publish(vhost, [im])
    with running_worker(vhost, database, tmp_path):
        wait_until_stored(database, [im])
    assert database.rows("SELECT tableoid::regclass::text FROM archive.messages") == [
        ("archive.messages_default",)
    ]
    with psycopg.connect(database.url("lcs_owner"), autocommit=True) as connection:
        connection.execute("SELECT archive.ensure_partitions('2001-09-15', 0)")
    assert database.rows("SELECT tableoid::regclass::text FROM archive.messages") == [
        ("archive.messages_2001_09",)
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE archive.messages SET body = ''",
        "DELETE FROM archive.messages",
        "INSERT INTO archive.users (name) VALUES ('x')",
        "SELECT * FROM archive.messages",
        "UPDATE archive.agents SET confirmed = 0",
        "TRUNCATE archive.messages",
    ],
)
def test_the_workers_role_can_only_log(database: ArchiveDatabase, statement: str) -> None:
    with (
        psycopg.connect(database.url("lcs_archiving")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement.encode())


def test_migrations_run_twice_at_once_do_the_work_once(database: ArchiveDatabase) -> None:
    with psycopg.connect(database.url("postgres"), autocommit=True) as connection:
        connection.execute("DROP SCHEMA archive, cdr CASCADE")
    environment = {"LCS_DATABASE_URL": database.url("lcs_owner")}
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda _: run_command("migrate", environment), range(2)))
    assert [result.returncode for result in results] == [0, 0], results
    assert database.rows("SELECT count(*) FROM archive.alembic_version") == [(1,)]


def test_a_bad_setting_stops_the_service_with_one_clear_line(vhost: Vhost, database: ArchiveDatabase) -> None:
    result = run_command("", worker_environment(vhost, database) | {"LCS_BATCH_SIZE": "many"})
    assert result.returncode == 1
    assert result.stderr.startswith("LCS_BATCH_SIZE: Input should be a valid integer")
    assert result.stderr.count("\n") == 1
