"""The stack, brought up once a run in each of its forms."""

import os
from collections.abc import Iterator

import pytest
from docker.errors import DockerException

from tests.e2e.systems import Containers, Processes, System


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """The stack as processes, on a broker and a database of its own."""
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("LCS_AMQP_URL", raising=False)
        environment.delenv("LCS_DATABASE_URL", raising=False)
        system = Processes(tmp_path_factory.mktemp("stack"))
    try:
        system.stack.start()
        yield system
    finally:
        system.stack.stop()


@pytest.fixture(scope="session")
def containers() -> Iterator[Containers]:
    """The stack as containers; skipped where no Docker Engine answers, unless ``CI`` says that one must."""
    try:
        system = Containers()
    except DockerException as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no Docker Engine answers: {error}")
    try:
        system.start()
        yield system
    finally:
        system.stop()


@pytest.fixture(
    scope="session", params=["processes", pytest.param("containers", marks=pytest.mark.containers)]
)
def system(request: pytest.FixtureRequest) -> System:
    """Each form in turn."""
    stack: System = request.getfixturevalue(request.param)
    return stack
