"""One stack and two chat servers for all tests of XMPP."""

from collections.abc import Iterator

import docker
import pytest

from tests.e2e.systems import Processes, running_processes
from tests.xmpp.archive import Archive
from tests.xmpp.server import Prosody, build_image


@pytest.fixture(scope="package")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with running_processes(tmp_path_factory.mktemp("stack")) as processes:
        yield processes


@pytest.fixture(scope="package")
def prosody(
    system: Processes, engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prosody]:
    build_image(engine)
    one = Prosody(
        engine, tmp_path_factory.mktemp("prosody"), system.front_end_urls[0], system.tokens["prosody"]
    )
    yield one
    one.stop()


@pytest.fixture
def archive(system: Processes) -> Archive:
    """With the policy that most tests want: all is archived."""
    one = Archive(system)
    one.set_policy()
    return one
