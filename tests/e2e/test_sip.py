"""``docker compose --profile sip up``: two people with real SIP clients."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from deploy.local.process import wait_for
from tests.e2e.systems import Containers
from tests.e2e.test_dashboards import ONLY_WITH_AN_EDGE, Prometheus, panels
from tests.sip.baresip import Baresip
from tests.sip.edge import build_images

pytestmark = pytest.mark.containers


@pytest.fixture(scope="module")
def edge(containers: Containers) -> Iterator[str]:
    """The edge's service, started."""
    build_images(containers.engine)
    containers.compose("--profile", "sip", "up", "--detach", "--wait", "--no-recreate", "edge", seconds=300)
    yield "edge"
    containers.compose("--profile", "sip", "rm", "--stop", "--force", "edge")


def test_two_people_write_to_each_other_and_the_archive_has_it(
    containers: Containers, edge: str, tmp_path: Path
) -> None:
    people = ("yannis", "administrator")
    clients: list[Baresip] = []
    try:
        for person, peer in (people, people[::-1]):
            clients.append(
                Baresip(
                    containers.engine,
                    tmp_path / person,
                    f"{person}@contoso.com",
                    containers.secret(f"people/sip-{person}"),
                    peer=f"{peer}@contoso.com",
                    proxy=f"sip:{edge}:5060",
                    network=f"{containers.project}_default",
                )
            )
        yannis, administrator = clients
        yannis.send("Test Archiving Messages")
        wait_for(lambda: "Test Archiving Messages" in administrator.said(), "the first IM to come")
        administrator.send("It works")
        wait_for(lambda: "It works" in yannis.said(), "the answer to come")
    finally:
        for client in clients:
            client.stop()
    headers = {"Authorization": f"Bearer {containers.tokens['compliance']}"}
    address = f"{containers.admin_url}/v1/messages?user=yannis@contoso.com&text="

    def is_archived(text: str) -> bool:
        found = httpx.get(address + text, headers=headers, trust_env=False).raise_for_status().json()
        return [im["body"] for im in found["messages"]][:1] == [text]

    for text in ("Test Archiving Messages", "It works"):
        wait_for(partial(is_archived, text), f"{text!r} in the archive")
    prometheus = Prometheus(containers.prometheus_url)
    for where, expr in panels():
        if ONLY_WITH_AN_EDGE.search(expr):
            prometheus.wait_for(expr, where)
    prometheus.wait_for('sum(kamailio_front_end_answers_total{answer="201"}) >= 2', "two IMs asked about")
    prometheus.wait_for("sum(kamailio_usrloc_location_users) == 2", "two people registered")


def test_the_edge_can_do_little(containers: Containers, edge: str) -> None:
    (container,) = containers.containers(edge)
    assert container.exec_run(["sh", "-c", "[ $(id -u) != 0 ]"]).exit_code == 0
    host = container.attrs["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert {each["HostIp"] for ports in host["PortBindings"].values() for each in ports} == {"127.0.0.1"}
