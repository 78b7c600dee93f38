"""Services that know several nodes of the broker use whichever is there."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from deploy.local.broker import Broker
from deploy.local.process import find_free_port, wait_for
from tests.conftest import ArchiveDatabase, Vhost, declare
from tests.integration.archiving_service import (
    make_ims,
    publish,
    running_worker,
    stored_ids,
    wait_until_stored,
)
from tests.integration.frontend_service import IM, FrontEnd, ims_of


def _nodes(user: str, *hosts: Vhost | int) -> str:
    """Return the address of several nodes, where a number is a port with nobody behind it."""
    ports = [host if isinstance(host, int) else host.broker.amqp_port for host in hosts]
    (vhost, *_) = (host for host in hosts if isinstance(host, Vhost))
    return vhost.url(user).replace(
        f"127.0.0.1:{vhost.broker.amqp_port}", ",".join(f"127.0.0.1:{port}" for port in ports)
    )


def _are_stored(database: ArchiveDatabase, ids: set[UUID]) -> bool:
    return ids <= set(stored_ids(database))


@pytest.fixture
def second_broker(
    own_broker: Vhost, tmp_path_factory: pytest.TempPathFactory, credentials: Path
) -> Iterator[Vhost]:
    """A second node with the same vhost and users: to clients, another node of the same broker."""
    node = Broker(tmp_path_factory.mktemp("second-broker"))
    node.start()
    yield declare(node, own_broker.name, credentials)
    node.kill()


def test_a_front_end_passes_over_nodes_that_are_dead(vhost: Vhost, start: Callable[..., FrontEnd]) -> None:
    front_end = start(_nodes("frontend", find_free_port(), vhost, find_free_port()))
    front_end.wait_until_ready()
    assert front_end.post(IM).status_code == httpx.codes.CREATED
    assert len(ims_of(vhost.take("lcslog"))) == 1


def test_a_worker_passes_over_nodes_that_are_dead(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    ims = make_ims(3)
    publish(vhost, ims)
    amqp_url = _nodes("archiving", find_free_port(), vhost, find_free_port())
    with running_worker(vhost, database, tmp_path, settings={"LCS_AMQP_URL": amqp_url}):
        wait_until_stored(database, ims)


def test_services_go_on_with_another_node_when_theirs_dies(
    own_broker: Vhost,
    second_broker: Vhost,
    database: ArchiveDatabase,
    start: Callable[..., FrontEnd],
    tmp_path: Path,
) -> None:
    amqp_url = _nodes("archiving", own_broker, second_broker)
    with running_worker(own_broker, database, tmp_path, settings={"LCS_AMQP_URL": amqp_url}):
        front_end = start(_nodes("frontend", own_broker, second_broker))
        for dead, alive in ((own_broker, second_broker), (second_broker, own_broker)):
            dead.broker.kill()
            wait_for(lambda: front_end.post(IM).status_code == httpx.codes.CREATED, "a 201", seconds=10)
            ims = make_ims(2)
            publish(alive, ims)
            ids = {im.id for im in ims}
            wait_for(partial(_are_stored, database, ids), "the worker", seconds=15)
            dead.broker.start()
