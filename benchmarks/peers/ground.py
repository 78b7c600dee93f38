"""The ground of all peers: one PostgreSQL server and one RabbitMQ node, those of a local stack."""

import secrets
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from benchmarks.cpu import Meter
from benchmarks.system import System, measure_cpu
from deploy.local.broker import Broker
from deploy.local.database import Database
from deploy.local.process import Process, kill_leftovers
from deploy.local.stack import DATABASE, Stack

QUEUE = "ims"
_VHOST = "peers"


class Ground:
    """The servers, and how a peer gets a fresh place on them."""

    def __init__(self, folder: Path) -> None:
        """``folder`` keeps everything, each peer's files in a folder of its own below it."""
        self.folder = folder
        self.stack = Stack(
            folder / "stack", front_ends=1, say=lambda text: print(f"  {text}", file=sys.stderr)
        )

    def start(self) -> None:
        """Start the stack from nothing; first end the remains of a killed run. Raises StartError."""
        kill_leftovers(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.stack.start()
        self.system = System(self.stack)

    def end_services(self) -> None:
        """End LCS Archive's own services, so that the other peers have the machine to themselves.

        Its archive goes too: PostgreSQL would vacuum and analyse it in their time.
        """
        self.system.close()
        for process in reversed(self.stack.processes.values()):
            process.stop(signal.SIGTERM)
        self.stack.processes.clear()
        with psycopg.connect(self.database.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(DATABASE)))

    def stop(self) -> None:
        """End everything."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # nothing shall interrupt this
        try:
            self.stack.stop()
        finally:
            kill_leftovers(self.folder)

    @property
    def database(self) -> Database:
        """The PostgreSQL server, with its default settings: fsync and synchronous_commit are on."""
        assert self.stack.database is not None
        return self.stack.database

    @property
    def broker(self) -> Broker:
        """The RabbitMQ node."""
        assert self.stack.broker is not None
        return self.stack.broker

    @contextmanager
    def fresh_database(self, name: str) -> Iterator[str]:
        """Give the address of an empty database, which is dropped in the end."""
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        with psycopg.connect(self.database.url(), autocommit=True) as connection:
            connection.execute(drop)
            self.database.create_database(name)
            self.settle()
            try:
                yield self.database.url(database=name)
            finally:
                connection.execute(drop)

    def settle(self) -> None:
        """Let PostgreSQL write out the changes of earlier runs, so that no run pays for another's."""
        with psycopg.connect(self.database.url(), autocommit=True) as connection:
            connection.execute("CHECKPOINT")

    def meter(self, *, broker: bool = True, **parts: Process) -> Meter:
        """Start to count the CPU time of PostgreSQL, of the broker if it takes part, and of processes."""
        pids = {part: process.popen.pid for part, process in parts.items()}
        return measure_cpu(self.database, self.broker if broker else None, **pids)

    @contextmanager
    def fresh_vhost(self) -> Iterator[str]:
        """Give the address of a vhost with one empty quorum queue, removed in the end."""
        password = secrets.token_hex(16)
        self.broker.import_definitions(
            {
                "vhosts": [{"name": _VHOST}],
                "users": [{"name": _VHOST, "password": password, "tags": ""}],
                "permissions": [
                    {"user": _VHOST, "vhost": _VHOST, "configure": ".*", "write": ".*", "read": ".*"}
                ],
                "queues": [
                    {
                        "name": QUEUE, "vhost": _VHOST, "durable": True, "auto_delete": False,
                        "arguments": {"x-queue-type": "quorum"},
                    }
                ],
            }
        )  # fmt: skip
        try:
            yield self.broker.url(_VHOST, password, _VHOST)
        finally:
            self.broker.manage("DELETE", f"/api/vhosts/{_VHOST}")
