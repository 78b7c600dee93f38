"""Cases on a cluster of containers."""

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.chaos.case import Case, Shared
from tests.chaos.containers.cluster import Cluster


@pytest.fixture(scope="package")
def cluster(engine: docker.DockerClient) -> Iterator[Shared[Cluster]]:
    """The cluster that cases share; skipped where no Docker Engine answers, unless ``CI`` says one must."""
    shared = Shared(Cluster)
    yield shared
    shared.end()


@pytest.fixture
def case(cluster: Shared[Cluster], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Case[Cluster]]:
    """A case on the cluster."""
    with cluster.case(tmp_path, request.session) as one:
        yield one
