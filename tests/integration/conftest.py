"""Front ends for the tests of one service beside its real neighbours."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import Vhost
from tests.integration.frontend_service import FrontEnd


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., FrontEnd]]:
    """Start front ends that end with the test."""
    started: list[FrontEnd] = []

    def start_one(amqp_url: str, name: str = "fe", under: Sequence[str] = (), **settings: str) -> FrontEnd:
        started.append(FrontEnd(tmp_path / name, amqp_url, under, **settings))
        return started[-1]

    yield start_one
    for front_end in started:
        front_end.process.kill()


@pytest.fixture
def front_end(vhost: Vhost, start: Callable[..., FrontEnd]) -> FrontEnd:
    """A front end on the shared broker, without a policy."""
    one = start(vhost.url("frontend"))
    one.wait_until_ready()
    return one
