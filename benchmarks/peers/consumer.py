"""A run of a consumer: a full quorum queue, one IM a message, drained into a table."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pika
import psycopg

from benchmarks.limits import make_ims
from benchmarks.peers.ground import QUEUE, Ground
from benchmarks.peers.peer import DRAIN_SINGLES, NotInstalledError, Result
from contract.message import encode_ims
from deploy.local.process import Process, wait_for

_ROOT = Path(__file__).parents[2]
_PROGRAMS = "benchmarks.peers.consumers"
_INSTALL = "make bench-peers (it makes .venv-peers)"


class Consumer:
    """A consumer written with one library, run by the Python of ``.venv-peers``."""

    measured = "full queue to committed rows: consumer, broker, PostgreSQL"
    beside = DRAIN_SINGLES

    def __init__(self, ground: Ground, name: str, package: str, command: list[str]) -> None:
        """``command``: arguments of Python; ``package``: the library, for its version."""
        self.name = name
        self._ground = ground
        self._package = package
        self._command = command
        self._python = _ROOT / ".venv-peers" / "bin" / "python"
        self._folder = ground.folder / package

    def version(self) -> str:
        """Return the library's version. Raises NotInstalledError."""
        if not self._python.exists():
            raise NotInstalledError(_INSTALL)
        found = self._call({}, "-c", f"import importlib.metadata as m; print(m.version({self._package!r}))")
        if found.returncode != 0:
            raise NotInstalledError(_INSTALL)
        return found.stdout.strip()

    def _call(self, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._python, *arguments],
            env=os.environ | environment, capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip

    def _call_module(self, environment: dict[str, str], module: str, *arguments: str) -> None:
        called = self._call(environment, "-m", f"{_PROGRAMS}.{module}", *arguments)
        if called.returncode != 0:
            raise RuntimeError(f"{module} failed:\n{called.stderr[-2000:]}")

    def fill(self, environment: dict[str, str], count: int) -> None:
        """Put so many IMs on the queue."""
        properties = pika.BasicProperties(content_type="application/json", delivery_mode=2)
        with pika.BlockingConnection(pika.URLParameters(environment["PEERS_AMQP_URL"])) as connection:
            channel = connection.channel()
            for im in make_ims(count):
                channel.basic_publish("", QUEUE, encode_ims([im]), properties)

    @contextmanager
    def _consuming(self, environment: dict[str, str]) -> Iterator[Process]:
        process = Process("consumer", [self._python, *self._command], self._folder, environment)
        try:
            yield process
        finally:
            process.stop()

    def run(self, count: int) -> Result:
        """Fill the queue, start the consumer, and measure from the first commit seen to the last."""
        with self._ground.fresh_database(self._package) as url, self._ground.fresh_vhost() as amqp_url:
            environment = {"PEERS_AMQP_URL": amqp_url, "PEERS_DATABASE_URL": url, "PYTHONPATH": str(_ROOT)}
            self._call_module(environment, "message")
            self.fill(environment, count)
            _wait_for_messages(amqp_url, count)
            self._ground.settle()
            with psycopg.connect(url, autocommit=True) as table, self._consuming(environment) as consumer:
                consumer.wait_until(lambda: _count(table) > 0)
                meter = self._ground.meter(consumer=consumer)
                first, started = _count(table), _now(table)
                # Not often: counting is PostgreSQL's work too, and the end is known from the commits' times.
                wait_for(
                    lambda: not consumer.alive or _count(table) >= count, f"{count:,} rows",
                    seconds=600, every=0.5,
                )  # fmt: skip
                if not consumer.alive:
                    raise RuntimeError(f"the consumer ended by itself; its log: {consumer.log}")
                cpu = meter.stop()
                return Result(count - first, _last_commit(table) - started, cpu)


class CeleryWorker(Consumer):
    """Celery's worker; tasks are Celery's own messages, so Celery fills the queue."""

    def fill(self, environment: dict[str, str], count: int) -> None:
        """Publish so many tasks."""
        self._folder.mkdir(parents=True, exist_ok=True)
        ims = self._folder / "ims.ndjson"
        ims.write_bytes(encode_ims(make_ims(count)))
        self._call_module(environment, "tasks", str(ims))


def make_consumers(ground: Ground) -> list[Consumer]:
    """Return the consumers that are measured."""
    naive = ["-m", f"{_PROGRAMS}.naive"]
    stream = ["-m", f"{_PROGRAMS}.stream"]
    celery = [
        "-m", "celery", "--app", f"{_PROGRAMS}.tasks", "worker", "--pool", "prefork", "--concurrency", "2",
        "--loglevel", "WARNING",
        # Talk among workers, of which there is one.
        "--without-gossip", "--without-mingle", "--without-heartbeat",
    ]  # fmt: skip
    return [
        Consumer(ground, "aio-pika + SQLModel, naive", "aio-pika", naive),
        Consumer(ground, "FastStream + SQLModel", "faststream", stream),
        CeleryWorker(ground, "Celery + SQLModel, 2 processes", "celery", celery),
    ]


def _wait_for_messages(amqp_url: str, count: int) -> None:
    with pika.BlockingConnection(pika.URLParameters(amqp_url)) as connection:
        channel = connection.channel()

        def is_full() -> bool:
            return int(channel.queue_declare(QUEUE, passive=True).method.message_count) >= count

        wait_for(is_full, f"{count:,} messages on the queue", every=0.2)


def _ask(table: psycopg.Connection, query: str) -> float:
    row = table.execute(query.encode()).fetchone()
    assert row is not None
    return float(row[0])


def _count(table: psycopg.Connection) -> int:
    return int(_ask(table, "SELECT count(*) FROM messages"))


def _now(table: psycopg.Connection) -> float:
    return _ask(table, "SELECT extract(epoch FROM clock_timestamp())")


def _last_commit(table: psycopg.Connection) -> float:
    return _ask(table, "SELECT extract(epoch FROM max(pg_xact_commit_timestamp(xmin))) FROM messages")
