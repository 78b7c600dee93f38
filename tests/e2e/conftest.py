"""The stack, brought up once a run in each of its forms."""

from collections.abc import Iterator

import docker
import pytest

from tests.e2e.systems import Containers, Processes, System, running_processes


@pytest.fixture(scope="package")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """The stack as processes, on a broker and a database of its own."""
    with running_processes(tmp_path_factory.mktemp("stack")) as system:
        yield system


@pytest.fixture(scope="package")
def containers(engine: docker.DockerClient) -> Iterator[Containers]:
    """The stack as containers; skipped where no Docker Engine answers, unless ``CI`` says that one must."""
    system = Containers()
    try:
        system.start()
        yield system
    finally:
        system.stop()


@pytest.fixture(
    scope="package", params=["processes", pytest.param("containers", marks=pytest.mark.containers)]
)
def system(request: pytest.FixtureRequest) -> System:
    """Each form in turn."""
    stack: System = request.getfixturevalue(request.param)
    return stack
