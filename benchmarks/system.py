"""The system under measurement: the services of a local stack, one front end and one worker."""

import asyncio
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psycopg

from benchmarks.cpu import Meter
from benchmarks.load import send_stream
from contract.topology import QUEUE
from deploy.local.broker import Broker
from deploy.local.database import Database
from deploy.local.process import Process, wait_for
from deploy.local.stack import DATABASE, Stack

_WORKER = "archiving-1"
_SECONDS = 1800.0


class System:
    """A running stack with a policy that archives everybody."""

    def __init__(self, stack: Stack) -> None:
        """``stack`` runs. Raises httpx.HTTPError if it doesn't take the policy."""
        assert stack.broker is not None
        assert stack.database is not None
        self._stack = stack
        self.broker = stack.broker
        self.database = stack.database
        self.database_url = stack.database.url(database=DATABASE)
        """Of the superuser."""
        self.front_end_url = stack.front_end_urls[0]
        self.token = stack.tokens["connector"]
        administrator = {"Authorization": f"Bearer {stack.tokens['administrator']}"}
        self._admin = httpx.Client(base_url=stack.admin_url, headers=administrator)
        self._set_policy("domains/contoso.com", {})
        self._set_policy("global/internal", {"archive": "everyone"})
        self._recorded = True
        self._sent_since = datetime.now(UTC)
        self._connection = psycopg.connect(self.database_url, autocommit=True)

    def close(self) -> None:
        """End the processes and connections opened here; the stack goes on."""
        self._connection.close()
        self._admin.close()

    def record(self, enabled: bool) -> None:
        """Switch call detail records on or off; return when the front end runs the policy."""
        self._recorded = enabled
        self._set_policy("cdr", {"enabled": enabled})

        def is_current() -> bool:
            front_ends = self._admin.get("/v1/front-ends").raise_for_status().json()["front_ends"]
            return all(each["current"] for each in front_ends if each["live"])

        wait_for(is_current, "the policy")

    def _set_policy(self, part: str, document: dict[str, object]) -> None:
        self._admin.put(f"/v1/policy/{part}", json=document).raise_for_status()

    def secret(self, service: str, name: str) -> str:
        """Return an address or a token of a service."""
        return (self._stack.folder / "secrets" / service / name).read_text().strip()

    @property
    def publisher_url(self) -> str:
        """The broker, as the front end reaches it."""
        return self.secret("frontend", "lcs_amqp_url")

    @property
    def worker_database_url(self) -> str:
        """The database, as the worker reaches it."""
        return self.secret("archiving", "lcs_database_url")

    def count(self) -> int:
        """Return how many IMs are committed: by the agents' accounts, which cost nothing to read."""
        row = self._connection.execute(
            "SELECT coalesce(sum(archived), 0)::bigint FROM archive.completeness"
        ).fetchone()
        assert row is not None
        return int(row[0])

    def wait_for(self, count: int) -> None:
        """Return when so many IMs are committed. Raises TimeoutError."""
        wait_for(lambda: self.count() >= count, f"{count:,} rows", seconds=_SECONDS, every=0.02)

    def settle(self) -> None:
        """Have PostgreSQL write out the changes of earlier runs: no run pays for another's."""
        self._connection.execute("CHECKPOINT")

    def purge(self) -> None:
        """Empty the queue."""
        self.broker.manage("DELETE", f"/api/queues/lcs/{QUEUE}/contents")

    def stop_worker(self) -> None:
        """Stop the worker, as an operator does."""
        self._stack.processes[_WORKER].stop(signal.SIGTERM)

    def start_worker(self) -> Process:
        """Start the worker; return when it is ready."""
        return self._stack.start_worker(_WORKER)

    def restart(self, **settings: str) -> None:
        """Start front end and worker anew, with further settings."""
        self._stack.processes["fe1"].stop(signal.SIGTERM)
        self.stop_worker()
        self._stack.settings = settings
        self.start_worker()
        self._stack.start_front_end("fe1")
        self.front_end_url = self._stack.front_end_urls[-1]

    def drain(self, count: int) -> tuple[int, float, dict[str, float]]:
        """Start a worker on a queue of ``count`` IMs; measure from its first commit to its last.

        Returns IMs, seconds, and CPU seconds by part.
        """
        self.settle()
        before = self.count()
        worker = self.start_worker()
        self.wait_for(before + 1)
        meter = measure_cpu(self.database, self.broker, worker=worker.popen.pid)
        started, first = time.perf_counter(), self.count()
        self.wait_for(before + count)
        return before + count - first, time.perf_counter() - started, meter.stop()

    def send(self, ims: list[bytes], *, rate: float | None = None) -> tuple[float, float, dict[str, float]]:
        """Send IMs as one stream to the front end; wait until their rows are committed.

        Returns seconds to the last answer, seconds to the last commit, and CPU seconds by part, until their
        call detail records are stored too. Raises RuntimeError if one was not accepted.
        """
        self.settle()
        before, recorded = self.count(), self._count_recorded()
        meter = self.meter()
        self._sent_since = datetime.now(UTC)
        started = time.perf_counter()
        answered, accepted = asyncio.run(send_stream(self.front_end_url, self.token, ims, rate=rate))
        if accepted != len(ims):
            raise RuntimeError(f"the front end accepted {accepted:,} of {len(ims):,} IMs")
        self.wait_for(before + len(ims))
        committed = time.perf_counter() - started
        recorded += len(ims) if self._recorded else 0
        wait_for(lambda: self._count_recorded() >= recorded, "the records", seconds=_SECONDS, every=0.5)
        return answered, committed, meter.stop()

    def _count_recorded(self) -> int:
        """Return how many IMs the call detail records count as archived."""
        row = self._connection.execute(
            "SELECT coalesce(sum(archived), 0)::bigint FROM cdr.sessions"
        ).fetchone()
        assert row is not None
        return int(row[0])

    def latency(self) -> list[float]:
        """Return p50, p99, p99.9 in milliseconds between acceptance and commit, of the IMs sent last.

        Acceptance is the time inside the id, in milliseconds; the commit's is PostgreSQL's own record.
        """
        row = self._connection.execute(
            "SELECT percentile_cont(ARRAY[0.5, 0.99, 0.999]) WITHIN GROUP (ORDER BY extract(epoch FROM"
            " pg_xact_commit_timestamp(xmin) - sent_at) * 1000)"
            " FROM archive.messages WHERE sent_at >= %s AND sent_at < now()",
            [self._sent_since],
        ).fetchone()
        assert row is not None
        return [float(each) for each in row[0]]

    def meter(self, **others: int) -> Meter:
        """Start to count the CPU time of all parts, and of other processes."""
        services = {"front_end": "fe1", "worker": _WORKER, "records' worker": "cdr"}
        parts = {part: self._stack.processes[name].popen.pid for part, name in services.items()}
        return measure_cpu(self.database, self.broker, **others, **parts)


def measure_cpu(database: Database, broker: Broker | None, **processes: int) -> Meter:
    """Start to count the CPU time of PostgreSQL, of the broker if it takes part, and of processes."""
    roots = dict(processes)
    roots["postgresql"] = _number_in(database.folder / "postgres.group")
    if broker is not None:
        roots["rabbitmq"] = _number_in(broker.folder / "rabbitmq.group")
    return Meter(roots)


def _number_in(group_file: Path) -> int:
    return int(group_file.read_text())
