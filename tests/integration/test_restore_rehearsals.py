"""The runbook's ways to restore (docs/operations.md, Restore), each under a worker that runs all the time."""

import os
import pwd
import shutil
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

import archiving.migrations
from archiving.archive import Archive
from contract.message import IM
from deploy.local.process import wait_for
from tests.conftest import ArchiveDatabase, Vhost
from tests.integration.archiving_service import (
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
from tests.integration.backups import run

Restore = Callable[[], None]


def _dump(database: ArchiveDatabase, folder: Path) -> Restore:
    """Take a dump; return what restores it into a database of the same name, the one before set aside."""
    file = folder / "lcslog.dump"
    run("pg_dump", f"--dbname={database.url('postgres')}", "--format=custom", f"--file={file}")

    def restore() -> None:
        with psycopg.connect(database.server.url(), autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS false".encode())
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database.name]
            )
            connection.execute(f"ALTER DATABASE {database.name} RENAME TO lcslog_before".encode())
        database.server.create_database(database.name)
        url = f"--dbname={database.url('postgres')}"
        run("pg_restore", url, "--exit-on-error", "--single-transaction", file)
        archiving.migrations.migrate(database.url("lcs_owner"))

    return restore


def _base_backup(database: ArchiveDatabase, folder: Path) -> Restore:
    """Take a base backup; return what puts it in place of the server's data."""
    backup = folder / "base"
    run("pg_basebackup", f"--dbname={database.server.url()}", f"--pgdata={backup}", "--checkpoint=fast")
    return lambda: _put_in_place(database, backup, "restore_command = 'false'")


def _point_in_time(database: ArchiveDatabase, folder: Path) -> Restore:
    """Have the log kept, take a base backup; return what recovers to the time before that call's last IM."""
    log, backup = folder / "log", folder / "base"
    log.mkdir()
    _own(log)
    with psycopg.connect(database.server.url(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET archive_mode = on")
        connection.execute(
            f"ALTER SYSTEM SET archive_command = 'test ! -f {log}/%f && cp %p {log}/%f'".encode()
        )
    database.server.stop()
    database.server.start()
    run("pg_basebackup", f"--dbname={database.server.url()}", f"--pgdata={backup}", "--checkpoint=fast")

    def restore() -> None:
        [[until]] = database.rows(
            "SELECT max(pg_xact_commit_timestamp(xmin)) - interval '1 us' FROM archive.messages"
        )
        _put_in_place(
            database,
            backup,
            f"restore_command = 'cp {log}/%f %p'",
            f"recovery_target_time = '{until}'",
            "recovery_target_action = 'promote'",
        )

    return restore


def _put_in_place(database: ArchiveDatabase, backup: Path, *settings: str) -> None:
    server = database.server
    server.stop()
    data = server.folder / "data"
    data.rename(server.folder / "data-before")
    shutil.copytree(backup, data)
    (data / "recovery.signal").touch()
    with (data / "postgresql.auto.conf").open("a") as file:
        file.writelines(f"{setting}\n" for setting in settings)
    _own(data)
    data.chmod(0o700)
    server.start()
    in_recovery = "SELECT pg_is_in_recovery()"
    wait_for(lambda: database.rows(in_recovery) == [(False,)], "the end of the recovery")


def _own(folder: Path) -> None:
    """Give a folder to whom the server runs as."""
    if os.geteuid() == 0:
        user = pwd.getpwnam("nobody")
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid)


def _im(name: str) -> IM:
    return changed(make_ims(1)[0], sender=f"sip:{name}@contoso.com", conversation=f"of {name}")


def _next(im: IM) -> IM:
    after = make_ims(1, agent=im.agent, first_seq=im.seq + 1)[0]
    return changed(after, sender=im.sender, conversation=im.conversation)


def _incarnation(database: ArchiveDatabase) -> object:
    """Return it as who reads the archive is told."""
    with psycopg.connect(database.url("lcs_admin")) as connection:
        return connection.execute("SELECT archive.incarnation()").fetchone()


@pytest.mark.parametrize(
    ("back_up", "kept"),
    [
        pytest.param(_dump, 1, id="pg_dump"),
        pytest.param(_base_backup, 1, id="pg_basebackup"),
        pytest.param(_point_in_time, 2, id="point in time"),
    ],
)
def test_a_restore_by_the_runbook(
    vhost: Vhost,
    own_database: ArchiveDatabase,
    tmp_path: Path,
    back_up: Callable[[ArchiveDatabase, Path], Restore],
    kept: int,
) -> None:
    database = own_database
    ada, ben, cleo = map(_im, ("ada", "ben", "cleo"))
    with running_worker(vhost, database, tmp_path / "worker") as worker:
        publish(vhost, [ada])
        wait_until_stored(database, [ada])
        before = _incarnation(database)
        restore = back_up(database, tmp_path)
        assert _incarnation(database) == before  # a restart is no restore
        for im in (ben, cleo):
            publish(vhost, [im])
            wait_until_stored(database, [ada, ben, cleo] if im is cleo else [ada, ben])
        wait_until_empty(vhost)
        restore()
        assert _incarnation(database) != before
        known = [ada, ben][:kept]
        assert stored_ids(database) == [im.id for im in known]
        newcomer, again = _im("dan"), _next(cleo)
        with_numbers_of_before = Archive(database.url("lcs_archiving"))
        with_numbers_of_before.store([newcomer])
        with_numbers_of_before.close()
        publish(vhost, [again])
        wait_until_stored(database, [*known, newcomer, again])
        finish(worker, vhost)
    assert database.rows("SELECT sender, conversation FROM archive.archived_messages ORDER BY id") == [
        (im.sender, im.conversation) for im in sorted([*known, newcomer, again], key=lambda im: im.id)
    ]
    assert parked(database) == []
    counts = {
        row[0]: row[1:] for row in database.rows("SELECT agent, accepted, missing FROM archive.completeness")
    }
    assert counts[cleo.agent] == (2, 1)  # who goes on shows what the restore lost
    assert ben.agent not in counts or kept == 2  # who is not heard of again does not
