"""The system under test, as load, oracle and scenarios see it, whatever its parts run in."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from uuid import UUID

import httpx
import psycopg

from deploy.local.process import wait_for

PARTS = ("front end", "worker", "database")


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
    def waiting(self) -> int:
        """Return how many AMQP messages wait, acknowledged or not."""

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
