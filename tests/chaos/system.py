"""The system under test, as load, oracle and scenarios see it, whatever its parts run in."""

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final
from uuid import UUID

import httpx
import pika
import psycopg
from pika.exceptions import AMQPConnectionError, AMQPError

from contract.topology import PARKED_QUEUE, QUEUE
from deploy.local.process import wait_for

PARTS = ("front end", "worker", "database")
_MISSING: Final = (
    "SELECT sent.id FROM unnest(%s::uuid[]) AS sent (id) LEFT JOIN archive.messages AS stored USING (id)"
    " WHERE stored.id IS NULL"
)


class System(ABC):
    """Two front ends, a worker, a broker and a database."""

    admin_url: str

    @abstractmethod
    def start(self) -> None:
        """Start everything."""

    @abstractmethod
    def stop(self) -> None:
        """Stop everything, however it is."""

    def wait_until_whole(self) -> None:
        """Return when both front ends send to the broker."""
        self.wait_for_state("normal")

    @property
    @abstractmethod
    def tokens(self) -> Mapping[str, str]:
        """Person to token."""

    @abstractmethod
    def urls(self) -> Sequence[str]:
        """Where chat systems send IMs."""

    @abstractmethod
    def states(self) -> list[dict[str, Any]]:
        """Return what every front end that answers says of itself."""

    @abstractmethod
    def broker_addresses(self) -> Sequence[str]:
        """Return where the broker's operator reaches its nodes."""

    @abstractmethod
    def worker_urls(self) -> Sequence[str]:
        """Return where every worker tells of itself."""

    def waiting(self) -> int:
        """Return how many messages wait in the queues, or else how many IMs workers hold; 1: nobody can tell.

        The counts of the broker's management are some seconds old.
        """
        try:
            return self._queued() or sum(_held_at(url) for url in self.worker_urls())
        except (AMQPError, httpx.HTTPError):
            return 1

    def _queued(self) -> int:
        """Return how many messages are ready. Raises AMQPError if no node tells."""
        trouble: AMQPError = AMQPConnectionError()
        for address in self.broker_addresses():
            try:
                with pika.BlockingConnection(pika.URLParameters(address)) as connection:
                    channel = connection.channel()
                    declared = (channel.queue_declare(name, passive=True) for name in (QUEUE, PARKED_QUEUE))
                    return sum(queue.method.message_count for queue in declared)
            except AMQPError as error:
                trouble = error  # this one is down
        raise trouble

    def ended(self) -> str:
        """Return the name of a part that has ended by itself; empty where something starts it again."""
        return ""

    @abstractmethod
    def session(self) -> AbstractContextManager[psycopg.Connection]:
        """A session of the superuser, who is let in when nobody else is."""

    @abstractmethod
    def kill_broker(self) -> None:
        """End the broker, all its nodes, at once."""

    @abstractmethod
    def start_broker(self) -> None:
        """Start the broker again."""

    @abstractmethod
    def freeze_broker(self) -> None:
        """Have the broker, all its nodes, stand still."""

    @abstractmethod
    def thaw_broker(self) -> None:
        """Let it go on."""

    @abstractmethod
    def kill_and_start(self, part: str) -> None:
        """End one of ``PARTS`` at once, then start it again."""

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        with self.session() as connection:
            return connection.execute(query.encode()).fetchall()

    def archived(self) -> list[UUID]:
        """Return the ids of all rows."""
        return [row[0] for row in self.rows("SELECT id FROM archive.messages")]

    def missing(self, ids: Collection[UUID]) -> set[UUID]:
        """Return those of some IMs that are not archived."""
        with self.session() as connection:
            return {im_id for (im_id,) in connection.execute(_MISSING, [list(ids)])}

    def wait_for_state(self, state: str, *, seconds: float = 60) -> None:
        """Return when both front ends are in a state."""
        wait_for(
            lambda: [each["state"] for each in self.states()] == [state, state],
            f"the state {state}: {self.states()}",
            seconds=seconds,
        )

    def make_critical(self, critical: bool) -> None:
        """Set the pool's critical mode; return when both front ends know."""
        document = {"archive": True, "critical": critical, "archive_all_group": False}
        with self.administrator() as client:
            client.put("/v1/policy/pools/pool1", json=document).raise_for_status()
            version = client.get("/v1/policy").raise_for_status().json()["version"]
        wait_for(
            lambda: [each["policy"]["version"] for each in self.states()] == [version, version],
            "the policy at the front ends",
        )

    @contextmanager
    def administrator(self) -> Iterator[httpx.Client]:
        """A client of who sets policy."""
        headers = {"Authorization": f"Bearer {self.tokens['administrator']}"}
        with httpx.Client(base_url=self.admin_url, headers=headers, timeout=30, trust_env=False) as client:
            yield client


def _held_at(worker: str) -> int:
    """Return how many IMs a worker took and did not acknowledge yet."""
    told = httpx.get(f"{worker}/metrics", timeout=10, trust_env=False).raise_for_status().text
    found = re.search(r"^lcs_archiving_unacknowledged_ims (\S+)$", told, re.MULTILINE)
    assert found is not None
    return int(float(found[1]))
