"""A cluster for all cases of a run."""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import docker
import pytest

from tests.chaos.case import Case
from tests.chaos.containers.cluster import Cluster

_sent: set[UUID] = set()


@pytest.fixture(scope="package")
def cluster(engine: docker.DockerClient) -> Iterator[Cluster]:
    """Skipped where no Docker Engine answers, unless ``CI`` says that one must."""
    one = Cluster()
    try:
        one.start()
        yield one
    finally:
        one.stop()


@pytest.fixture
def case(cluster: Cluster, tmp_path: Path) -> Iterator[Case[Cluster]]:
    """A case on the cluster, with every queue whole."""
    cluster.wait_until_whole()
    cluster.wait_for_state("normal")
    one = Case(cluster, tmp_path, _sent)
    yield one
    one.journal.close()
