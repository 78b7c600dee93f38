"""Front ends for the tests of one service beside its real neighbours."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chaos.proxy import Proxy
from tests.conftest import Vhost
from tests.integration.frontend_service import FrontEnd


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., FrontEnd]]:
    """Start front ends that end with the test."""
    started: list[FrontEnd] = []

    def start_one(
        amqp_url: str, name: str = "fe", under: Sequence[str] = (), patch: str = "", **settings: str
    ) -> FrontEnd:
        started.append(FrontEnd(tmp_path / name, amqp_url, under, patch, **settings))
        return started[-1]

    yield start_one
    for front_end in started:
        front_end.process.kill()


@dataclass
class BrokerLine:
    """A line of a test's own to the shared broker: it may ``cut`` it, quicker than a node is killed."""

    proxy: Proxy
    url: str
    """The address for a front end."""

    def cut(self) -> None:
        """Have the broker be out of reach."""
        self.proxy.refuse()

    def mend(self) -> None:
        """Have it be there again."""
        self.proxy.mend()


@pytest.fixture
def line(vhost: Vhost) -> Iterator[BrokerLine]:
    """A line to the vhost."""
    proxy = Proxy(vhost.broker.amqp_port)
    yield BrokerLine(proxy, vhost.url("frontend").replace(f":{vhost.broker.amqp_port}/", f":{proxy.port}/"))
    proxy.close()


@pytest.fixture
def front_end(vhost: Vhost, start: Callable[..., FrontEnd]) -> FrontEnd:
    """A front end on the shared broker, without a policy."""
    one = start(vhost.url("frontend"))
    one.wait_until_ready()
    return one
