"""The archiving service beside a real broker and a real database."""

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg
import pytest

import archiving.numbers
from archiving.archive import Archive
from contract.message import (
    AGENT_TYPE,
    AgentStatement,
    encode_statement,
    make_id,
    time_of,
)
from contract.topology import QUEUE
from deploy.local.process import find_free_port, wait_for
from tests.conftest import ArchiveDatabase, Vhost
from tests.integration.archiving_service import (
    KILL_AT,
    changed,
    finish,
    make_ims,
    parked,
    publish,
    run_command,
    running_worker,
    stored_ids,
    wait_until_stored,
    worker_environment,
)


def test_an_im_is_committed_then_acknowledged(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    ims = make_ims(3, body="Test Archiving Messages")
    publish(vhost, ims)
    with running_worker(vhost, database, tmp_path) as worker:
        wait_until_stored(database, ims)
        finish(worker, vhost)
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


def test_what_is_encrypted_is_counted_and_kept_as_content(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    plain, sealed, talk = make_ims(3)
    sealed = changed(sealed, body="?OTR:AAMDYSdr5gAB.")
    talk = changed(talk, body="?OTRv23? I - too - have OTR")
    publish(vhost, [plain, sealed, talk])
    port = find_free_port()
    with running_worker(vhost, database, tmp_path, settings={"LCS_PORT": str(port)}):
        wait_until_stored(database, [plain, sealed, talk])
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    assert 'lcs_encrypted_ims_total{kind="otr"} 1.0' in metrics
    assert database.rows("SELECT body, content, encryption FROM archive.messages ORDER BY seq") == [
        ("hello", None, None),
        (None, b"?OTR:AAMDYSdr5gAB.", "otr"),
        (talk.body, None, None),
    ]


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
    with running_worker(vhost, database, tmp_path) as worker:
        finish(worker, vhost)
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


def test_a_batch_given_up_when_told_to_end_is_not_acknowledged_with_a_later_one(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    first, second = make_ims(2)
    waiting = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with running_worker(vhost, database, tmp_path, settings={"LCS_BATCH_SIZE": "1"}) as worker:
        wait_for(lambda: b'"consuming"' in (tmp_path / "worker.log").read_bytes(), "the worker to consume")
        with psycopg.connect(database.url("postgres")) as lock:
            lock.execute("LOCK TABLE archive.messages IN ACCESS EXCLUSIVE MODE")
            publish(vhost, [first])
            wait_for(lambda: len(database.rows(f"SELECT {waiting}")) == 1, "the first batch to be stored")
            publish(vhost, [second])
            wait_for(lambda: vhost.depth(QUEUE) == 0, "the second to be taken")
            worker.popen.send_signal(signal.SIGTERM)
            assert database.rows(f"SELECT pg_terminate_backend(pid) {waiting}") == [(True,)]
        assert worker.popen.wait(30) == 0
    assert first.id not in stored_ids(database)
    with running_worker(vhost, database, tmp_path) as worker:
        wait_until_stored(database, [first, second])
        finish(worker, vhost)


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
    with running_worker(vhost, database, tmp_path) as worker:
        finish(worker, vhost)
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


def test_a_batch_is_bounded_by_people_too(vhost: Vhost, database: ArchiveDatabase, tmp_path: Path) -> None:
    ims = [
        changed(
            im,
            conversation=str(im.seq),
            recipients=tuple(f"sip:{im.seq}-{place}@contoso.com" for place in range(500)),
        )
        for im in make_ims(120)
    ]
    for first in range(0, 120, 10):
        publish(vhost, ims[first : first + 10])
    with running_worker(vhost, database, tmp_path) as worker:
        wait_until_stored(database, ims, seconds=60)
        finish(worker, vhost)
    assert database.rows("SELECT max(ims) <= 40 FROM archive.batches") == [(True,)]


def test_content_types_are_never_used_up(vhost: Vhost, database: ArchiveDatabase, tmp_path: Path) -> None:
    database.rows("SELECT setval('archive.content_types_id_seq', 32767)")
    new, known, binary = (
        changed(im, content_type=f"text/plain; msgr={place % 2}") for place, im in enumerate(make_ims(3))
    )
    binary = changed(binary, content_type="application/octet-stream", encoding="base64", body="AP/+")
    rich = changed(make_ims(1)[0], content_type="text/html")
    ims = [new, known, binary, rich]
    publish(vhost, ims)
    with running_worker(vhost, database, tmp_path) as worker:
        wait_until_stored(database, ims)
        publish(vhost, ims)  # what is known goes another way
        finish(worker, vhost)
    assert parked(database) == []
    rows = database.rows("SELECT content_type FROM archive.archived_messages ORDER BY content_type")
    assert rows == [
        ("application/octet-stream",), ("text/html",), ("text/plain; msgr=0",), ("text/plain; msgr=1",),
    ]  # fmt: skip
    assert database.rows("SELECT min(content_type_id) > 32767 FROM archive.messages") == [(True,)]


def test_a_session_is_not_closed_under_the_thread_that_waits_in_it(database: ArchiveDatabase) -> None:
    archive = Archive(database.url("lcs_archiving"))
    waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with psycopg.connect(database.url("postgres")) as lock, ThreadPoolExecutor(1) as pool:
        lock.execute("LOCK TABLE archive.users IN ACCESS EXCLUSIVE MODE")
        packing = pool.submit(archive.numbers.pack, make_ims(1))
        wait_for(lambda: len(database.rows(waiting)) == 1, "the thread to wait")
        archive.close()
        another = Archive(database.url("lcs_archiving"))
        lock.rollback()
        assert len(packing.result(30)) == 1
    assert another.count_parked() == (0, False)
    assert another.store(make_ims(1)) == 1
    another.close()


def test_people_of_large_groups_are_not_remembered_without_bound(
    database: ArchiveDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving.numbers, "_MAX_CACHED", 100)
    archive = Archive(database.url("lcs_archiving"))
    members = tuple(f"sip:{number}@contoso.com" for number in range(60))
    groups = [
        changed(im, conversation=f"group {place}", recipients=members) for place, im in enumerate(make_ims(3))
    ]
    for im in groups:
        archive.numbers.pack([im])
    rows, unknown = archive.numbers.pack_known(groups)
    assert (len(rows), unknown) == (1, groups[:2])
    archive.close()


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


def test_the_database_is_of_unicode_whatever_the_server_makes_by_default(
    own_database: ArchiveDatabase,
) -> None:
    with psycopg.connect(own_database.server.url(), autocommit=True) as connection:
        connection.execute("ALTER DATABASE template1 IS_TEMPLATE false")
        connection.execute("ALTER DATABASE template1 RENAME TO unicode")
        connection.execute(
            "CREATE DATABASE template1 TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C' IS_TEMPLATE true"
        )
        own_database.server.create_database("lcslog")
        encoding = connection.execute(
            "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'lcslog'"
        ).fetchone()
    assert encoding == ("UTF8",)
