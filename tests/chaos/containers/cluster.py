"""The system in containers: three broker nodes, and a proxy before the front ends."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import httpx
import psycopg
from docker.errors import APIError
from docker.models.containers import Container
from docker.models.networks import Network

from deploy.local.process import wait_for
from tests.chaos.system import System
from tests.e2e.systems import Containers

NODES: Final = ("rabbitmq", "rabbitmq-2", "rabbitmq-3")
_SERVICES: Final = {"front end": "frontend", "worker": "archiving", "database": "postgres"}


class Cluster(System):
    """``docker compose -f docker-compose.yml -f deploy/compose/cluster.yml up``."""

    def __init__(self) -> None:
        """Nothing starts yet. Raises docker.errors.DockerException if no engine answers."""
        self.stack = Containers("deploy/compose/cluster.yml", "tests/chaos/containers/cheap.yml")
        self.admin_url = self.stack.admin_url
        self.nodes: dict[str, Container] = {}
        self._password = ""
        self._operator = ""

    def start(self) -> None:
        """Start everything; return when all is healthy."""
        self.stack.start()
        self.nodes = {name: self.stack.containers(name)[0] for name in NODES}
        self._password = self.stack.secret("postgres/password")
        self._operator = self.stack.secret("people/rabbitmq-operator").strip()
        with self.administrator() as client:
            client.put("/v1/policy/domains/contoso.com", json={}).raise_for_status()

    def stop(self) -> None:
        """Remove everything."""
        self.stack.stop()

    @property
    def tokens(self) -> Mapping[str, str]:
        return self.stack.tokens

    def urls(self) -> Sequence[str]:
        return self.stack.front_end_urls

    def states(self) -> list[dict[str, Any]]:
        found = []
        for container in self.stack.containers("frontend"):
            url = f"http://{self._address_of(container)}:8080/readyz"
            with contextlib.suppress(httpx.TransportError):
                found.append(httpx.get(url, timeout=5, trust_env=False).json())
        return found

    def broker_addresses(self) -> Sequence[str]:
        addresses = (self._address_of(node) for node in self.nodes.values())
        return [f"amqp://operator:{self._operator}@{address}:5672/lcs" for address in addresses]

    def worker_urls(self) -> Sequence[str]:
        workers = self.stack.containers("archiving")
        return [f"http://{self._address_of(worker)}:8082" for worker in workers]

    @contextlib.contextmanager
    def session(self) -> Iterator[psycopg.Connection]:
        (server,) = self.stack.containers("postgres")
        with psycopg.connect(
            host=self._address_of(server),
            user="postgres",
            password=self._password.strip(),
            dbname="lcslog",
            autocommit=True,
            connect_timeout=5,
        ) as connection:
            yield connection

    def _address_of(self, container: Container) -> str:
        container.reload()
        networks = container.attrs["NetworkSettings"]["Networks"].values()
        return next((network["IPAddress"] for network in networks if network["IPAddress"]), "127.0.0.1")

    @property
    def network(self) -> Network:
        """What connects all containers."""
        (network,) = self.stack.engine.networks.list(names=[f"{self.stack.project}_default"])
        return network

    def kill_broker(self) -> None:
        for node in self.nodes.values():
            node.kill()

    def start_broker(self) -> None:
        for node in self.nodes.values():
            node.start()

    def freeze_broker(self) -> None:
        for node in self.nodes.values():
            _pause(node)

    def thaw_broker(self) -> None:
        for node in self.nodes.values():
            node.unpause()

    def kill_and_start(self, part: str) -> None:
        (container, *_) = self.stack.containers(_SERVICES[part])
        container.kill()
        container.start()

    def wait_until_whole(self) -> None:
        """Return when every queue has its three members again, and front ends send to them."""
        path = "/api/queues/lcs?disable_stats=true&enable_queue_totals=true"  # asks each node, now

        def whole() -> bool:
            url = f"http://{self._address_of(self.nodes['rabbitmq'])}:15672{path}"
            try:
                answer = httpx.get(url, auth=("operator", self._operator), timeout=10, trust_env=False)
                queues = [each for each in answer.raise_for_status().json() if each["type"] == "quorum"]
            except httpx.HTTPError:
                return False  # it starts
            return len(queues) == 3 and all(len(each["online"]) == 3 for each in queues)

        wait_for(whole, "three members of each queue", seconds=120, every=0.25)
        super().wait_until_whole()


def _pause(container: Container) -> None:
    """Pause a container. A cgroup that starts processes meanwhile may fail to freeze: then again."""

    def paused() -> bool:
        try:
            container.pause()
        except APIError as error:
            if error.status_code != HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            return False
        return True

    wait_for(paused, f"{container.name} to stand still")
