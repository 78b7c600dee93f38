"""Workers and archives of different versions: columns go by their names, a worker that is too new waits."""

from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

import admin_api.migrations
import archiving.archive
import archiving.migrations
from archiving.archive import Archive
from archiving.batch import Batch
from archiving.evidence import IN_ITEM
from archiving.rows import COLUMNS
from archiving.senders import Senders
from archiving.storing import Settlement
from contract.message import make_id
from deploy.local.process import wait_for
from tests.conftest import ArchiveDatabase, Vhost
from tests.integration.archiving_service import (
    HASTY,
    changed,
    make_ims,
    parked,
    publish,
    running_worker,
    stored_ids,
    wait_until_stored,
)

_NOW = datetime.now(UTC)
_GRANTED = """
SELECT r.rolname, p.oid::regprocedure::text || ' ' || pg_get_function_result(p.oid)
FROM pg_proc AS p, pg_roles AS r
WHERE r.rolname IN ('lcs_archiving', 'lcs_admin') AND has_function_privilege(r.oid, p.oid, 'EXECUTE')
      AND p.pronamespace::regnamespace::text IN ('archive', 'cdr', 'policy')
UNION
SELECT grantee, concat_ws(' ', table_schema, table_name, column_name, privilege_type)
FROM information_schema.column_privileges WHERE grantee IN ('lcs_archiving', 'lcs_admin')
"""
"""Functions with their results, and columns: who may call, read or write them."""


def test_an_older_archive_keeps_its_rows_and_its_workers_wait_until_they_are_new(
    database: ArchiveDatabase,
) -> None:
    database.begin_anew(archiving.migrations, "0007")
    with pytest.raises(psycopg.Error) as too_new:
        Archive(database.url("lcs_archiving"))
    assert not isinstance(too_new.value, IN_ITEM)
    sessions = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND usename = 'lcs_archiving'"
    wait_for(lambda: database.rows(sessions) == [], "no session to be left")
    with psycopg.connect(database.url("lcs_owner")) as connection:
        connection.execute("INSERT INTO archive.content_types (name) VALUES ('text/plain')")
        connection.execute(
            "INSERT INTO archive.messages"
            " VALUES (%s, now(), 1, 1, '{1}', false, 1, 'hello', NULL, 1, 1, 1, 1)",
            [make_id()],
        )
    archiving.migrations.migrate(database.url("lcs_owner"))
    with psycopg.connect(database.url("lcs_archiving")) as older:
        with pytest.raises(psycopg.Error) as too_old:
            older.execute("SELECT archive.open_batch()")
        assert not isinstance(too_old.value, IN_ITEM)
    archive = Archive(database.url("lcs_archiving"))
    assert archive.store(make_ims(1)) == 1
    archive.close()
    with psycopg.connect(database.url("lcs_admin")) as connection:
        rows = connection.execute("SELECT content_type, body FROM archive.archived_messages").fetchall()
    assert rows == [("text/plain", "hello")] * 2


def test_a_worker_packs_each_column_as_the_table_declares_it(database: ArchiveDatabase) -> None:
    with psycopg.connect(database.url("lcs_owner")) as connection:
        declared = connection.execute(
            "SELECT name FROM unnest(%s::text[], %s::text[]) AS packed (name, type)"
            " JOIN pg_attribute ON attrelid = 'archive.messages'::regclass AND attname = name"
            " AND atttypid = type::regtype",
            [list(COLUMNS), list(COLUMNS.values())],
        ).fetchall()
    assert {name for (name,) in declared} == set(COLUMNS)


def test_a_worker_that_knows_fewer_columns_goes_on(database: ArchiveDatabase) -> None:
    known = (
        "id, sent_at, conversation_id, sender_id, recipient_ids, federated, content_type_id, body, content,"
        " agent_id, seq, policy_version, rule_id, received_at"
    )
    with psycopg.connect(database.url("lcs_archiving")) as older:
        older.execute("SELECT archive.open_batch(%s::text[])", [known.split(", ")])
        older.execute(
            f"INSERT INTO pg_temp.batch ({known})"  # noqa: S608 - names of our own
            " VALUES (%s, now(), 1, 1, '{1}', false, 1, 'hello', NULL, 1, 1, 1, 1, NULL)".encode(),
            [make_id()],
        )
        older.execute("SELECT archive.log_messages(1, '{}', '{}', '{}')")
    assert database.rows("SELECT body, spelled FROM archive.messages") == [("hello", None)]


def test_a_worker_that_knows_a_column_more_waits(
    database: ArchiveDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving.archive, "COLUMNS", (*COLUMNS, "mood"))
    with pytest.raises(psycopg.Error, match="no column mood") as too_new:
        Archive(database.url("lcs_archiving"))
    assert not isinstance(too_new.value, IN_ITEM)


def test_a_worker_that_is_newer_than_the_archive_leaves_ims_on_the_queue_until_it_is_migrated(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    ims = make_ims(3)
    with psycopg.connect(database.url("lcs_owner"), autocommit=True) as owner:
        owner.execute("ALTER TABLE archive.messages DROP COLUMN spelled CASCADE")
        publish(vhost, ims)
        with running_worker(vhost, database, tmp_path, patch=HASTY) as worker:
            refusal = "messages has no column spelled: migrate the archive first"
            wait_for(lambda: worker.log.read_text().count(refusal) > 1, "the worker to be refused twice")
            assert stored_ids(database) == parked(database) == []
            owner.execute("ALTER TABLE archive.messages ADD COLUMN spelled text[]")
            owner.execute("GRANT INSERT (spelled) ON archive.messages TO lcs_archiving")
            wait_until_stored(database, ims)
    assert parked(database) == []


def test_what_a_released_service_calls_and_reads_is_there_after_each_migration(
    database: ArchiveDatabase,
) -> None:
    for migrations, released in ((archiving.migrations, "0027"), (admin_api.migrations, "0016")):
        database.begin_anew(migrations, released)
        before = set(database.rows(_GRANTED))
        assert len(before) > 10
        migrations.migrate(database.url("lcs_owner"))
        assert before - set(database.rows(_GRANTED)) == set()


def test_all_that_a_front_end_says_of_an_im_is_kept_however_it_came_into_the_table(
    database: ArchiveDatabase,
) -> None:
    [plain] = make_ims(1)
    full = changed(
        make_ims(1)[0],
        received_at=_NOW,
        content_encoding="gzip",
        encoding="base64",
        body="H4sI",
        spelled=("sip:Yann\u0131s@contoso.com", "sip:administrator@contoso.com"),
    )
    archive = Archive(database.url("lcs_archiving"))
    assert archive.store([plain]) == 1
    assert archive.store([plain, full]) == 1
    archive.close()
    assert database.rows(
        "SELECT received_at, content_encoding, spelled FROM archive.archived_messages"
        " ORDER BY received_at NULLS FIRST"
    ) == [(None, None, None), (_NOW, "gzip", list(full.spelled))]


def test_the_same_bytes_compressed_in_another_way_are_another_content(database: ArchiveDatabase) -> None:
    [im] = make_ims(1)
    im = changed(im, encoding="base64", body="H4sI", content_encoding="gzip")
    archive = Archive(database.url("lcs_archiving"))
    assert archive.store([im]) == 1
    senders = Senders({}, trust_anonymous=False)
    settlement = Settlement(senders, batch=Batch([changed(im, content_encoding="deflate")]))
    settlement.settle(archive)
    archive.close()
    assert (settlement.counts.committed, settlement.counts.parked) == (0, 1)
