"""An archive restored from a backup: what workers know of the one before counts no more."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from pika.spec import BasicProperties

from archiving.archive import Archive
from archiving.evidence import IN_ITEM
from archiving.parked.parking import Parked
from archiving.ranges import NumberRange
from contract.message import IM, AgentStatement
from tests.conftest import ArchiveDatabase, Vhost
from tests.integration.archiving_service import (
    changed,
    finish,
    make_ims,
    parked,
    publish,
    running_worker,
    wait_until_empty,
    wait_until_stored,
)
from tests.integration.backups import dump, execute_file

_NAMES = ("users", "conversations", "participants", "content_types", "rules", "agents", "pools")
_ROWS = ("messages", *_NAMES, "publishes", "batches", "incarnation")


def _drop(database: ArchiveDatabase, folder: Path) -> Callable[[], None]:
    """Back up; return what drops the schemas and restores them, in one transaction."""
    dump(database, folder / "dump.sql")
    return lambda: execute_file(database, folder / "dump.sql", "DROP SCHEMA archive, cdr CASCADE")


def _rows(*, delete: str) -> Callable[[ArchiveDatabase, Path], Callable[[], None]]:
    def back_up(database: ArchiveDatabase, folder: Path) -> Callable[[], None]:
        tables = [f"--table=archive.{name}*" for name in _ROWS]
        dump(database, folder / "rows.sql", "--data-only", *tables)
        gone = [delete.format(name) for name in _ROWS]
        return lambda: execute_file(database, folder / "rows.sql", *gone)

    return back_up


def _names(database: ArchiveDatabase, folder: Path) -> Callable[[], None]:
    """Back up the names alone; return what replaces their tables."""
    dump(database, folder / "names.sql", "--table=archive.users", "--table=archive.conversations")
    gone = "DROP TABLE archive.users, archive.conversations CASCADE"
    return lambda: execute_file(database, folder / "names.sql", gone)


def _im(name: str) -> IM:
    """Return the first IM of somebody's agent and conversation."""
    return changed(make_ims(1)[0], sender=f"sip:{name}@contoso.com", conversation=f"of {name}")


def _next(im: IM) -> IM:
    after = make_ims(1, agent=im.agent, first_seq=im.seq + 1)[0]
    return changed(after, sender=im.sender, conversation=im.conversation)


def _people(database: ArchiveDatabase) -> list[tuple[object, ...]]:
    return database.rows(
        "SELECT id, sender, conversation, agent, seq FROM archive.archived_messages ORDER BY id"
    )


def _told(*ims: IM) -> list[tuple[object, ...]]:
    return [(im.id, im.sender, im.conversation, im.agent, im.seq) for im in ims]


@pytest.mark.parametrize(
    "back_up",
    [
        pytest.param(_drop, id="schemas dropped"),
        pytest.param(_rows(delete="TRUNCATE archive.{} CASCADE"), id="rows truncated"),
        pytest.param(_rows(delete="DELETE FROM archive.{}"), id="rows deleted"),
    ],
)
def test_an_im_after_a_restore_is_its_senders(
    vhost: Vhost,
    database: ArchiveDatabase,
    tmp_path: Path,
    back_up: Callable[[ArchiveDatabase, Path], Callable[[], None]],
) -> None:
    ada, ben, cleo = map(_im, ("ada", "ben", "cleo"))
    with running_worker(vhost, database, tmp_path) as worker:
        publish(vhost, [ada])
        wait_until_stored(database, [ada])
        restore = back_up(database, tmp_path)
        publish(vhost, [ben])  # the worker keeps his numbers, the backup does not know him
        wait_until_stored(database, [ada, ben])
        wait_until_empty(vhost)
        restore()
        assert _people(database) == _told(ada)
        with closing(Archive(database.url("lcs_archiving"))) as another:
            another.store([cleo])  # has the numbers that were his
        again = _next(ben)
        publish(vhost, [again])
        wait_until_stored(database, [ada, cleo, again])
        finish(worker, vhost)
    assert sorted(_people(database)) == sorted(_told(ada, cleo, again))
    assert parked(database) == []
    # What was acknowledged after the backup is lost by the restore: it shows as a hole.
    counts = database.rows("SELECT agent, accepted, archived, missing FROM archive.completeness")
    assert [count[1:] for count in counts if count[0] == ben.agent] == [(2, 1, 1)]


def test_tables_of_names_that_are_replaced_alone_are_another_archive(
    database: ArchiveDatabase, tmp_path: Path
) -> None:
    ada, ben, cleo = map(_im, ("ada", "ben", "cleo"))
    with closing(Archive(database.url("lcs_archiving"))) as archive:
        archive.store([ada])
        restore = _names(database, tmp_path)
        archive.store([ben])
        restore()
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as refused:
            archive.store([_next(ben)])
        assert not isinstance(refused.value, IN_ITEM)
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            archive.store([], [NumberRange(ben.agent, "pool1", 2, 2)])
    with closing(Archive(database.url("lcs_archiving"))) as archive:
        archive.store([cleo, _next(ben)])


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM archive.users",
        "TRUNCATE archive.rules",
        "UPDATE archive.conversations SET name = name || '!'",
        "DELETE FROM archive.agents",
        "DROP TABLE archive.content_types CASCADE; CREATE TABLE archive.content_types ()",
        "UPDATE archive.incarnation SET since = now()",
    ],
)
def test_whoever_takes_names_away_waits_for_batches_and_they_for_him(
    database: ArchiveDatabase, change: str
) -> None:
    archiving, owner = database.url("lcs_archiving"), database.url("lcs_owner")
    hold = "SELECT archive.hold_incarnation(%s)"
    with psycopg.connect(archiving) as worker, psycopg.connect(owner) as administrator:
        before = worker.execute("SELECT archive.incarnation()").fetchone()
        worker.execute(hold, before)
        administrator.execute("SET lock_timeout = '100ms'")
        if "incarnation" not in change:  # by hand it is for later batches alone
            with pytest.raises(psycopg.errors.LockNotAvailable), administrator.transaction():
                administrator.execute(change.encode())
        worker.commit()
        administrator.execute(change.encode())
        if "incarnation" not in change:
            worker.execute("SET lock_timeout = '100ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable), worker.transaction():
                worker.execute(hold, before)
        administrator.commit()
        worker.rollback()
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            worker.execute(hold, before)


def test_a_database_copied_in_its_cluster_is_another_archive(database: ArchiveDatabase) -> None:
    asking = "SELECT archive.incarnation()"
    copy = ArchiveDatabase(database.server, f"{database.name[:40]}_copy", database.passwords)
    database.server.create_database(copy.name, template=database.name)
    assert database.rows(asking) == database.rows(asking) != copy.rows(asking)
    copy.drop()


def test_it_is_the_same_archive_in_every_time_zone(database: ArchiveDatabase) -> None:
    ask = (
        "SELECT archive.begin_era()",
        "SELECT archive.incarnation(), number FROM archive.era_order ORDER BY number DESC LIMIT 1",
    )
    answers = set()
    for options in ("-c timezone=UTC", "-c timezone=Asia/Tokyo -c datestyle=German"):
        with psycopg.connect(database.url("lcs_admin"), options=options) as connection:
            answers.add([connection.execute(each).fetchone() for each in ask][1])
    assert len(answers) == 1


def test_numbers_of_an_agent_that_is_not_there_are_not_passed_over(database: ArchiveDatabase) -> None:
    [im] = make_ims(1)
    with psycopg.connect(database.url("lcs_archiving"), autocommit=True) as connection:
        for call in (
            "log_numbers('{7}', ARRAY['{[1,1]}'::int8multirange], ARRAY['{}'::int8multirange])",
            "log_agent(7, NULL, 3, NULL, NULL)",
            "log_agent(7, 'f1', 3, NULL)",
        ):
            with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
                connection.execute(f"SELECT archive.{call}".encode())
    with closing(Archive(database.url("lcs_archiving"))) as archive:
        archive.store([im])
        archive.log_agent(
            AgentStatement(agent=im.agent, pool="pool1", front_end="f1", confirmed=3, at=im.sent_at)
        )
    assert database.rows("SELECT accepted, missing FROM archive.completeness") == [(3, 2)]


def test_a_replay_cut_by_a_restore_ends_nothing_in_the_archive_restored(
    database: ArchiveDatabase, tmp_path: Path
) -> None:
    with closing(Archive(database.url("lcs_archiving"))) as archive:
        for body in (b"first", b"second"):
            archive.park(Parked(body, BasicProperties(headers={}), "no IM", None))
            if body == b"first":
                restore = _drop(database, tmp_path)
        archive.request_replay("anna", "mended")
        archive.take_replay()
        restore()
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            archive.end_replay(1, None)
    assert [row[4] for row in parked(database)] == ["parked"]
