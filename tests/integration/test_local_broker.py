"""The private RabbitMQ node of the local stack."""

from pathlib import Path

from deploy.local.broker import Broker, definitions_for


def test_a_node_that_is_started_again_has_what_it_had(tmp_path: Path) -> None:
    vhosts = []
    for run in ("first", "second"):  # each as another process would: it knows only the folder
        node = Broker(tmp_path)
        try:
            node.start()
            node.manage("PUT", f"/api/vhosts/{run}")
            vhosts = [vhost["name"] for vhost in node.manage("GET", "/api/vhosts")]
        finally:
            node.stop()
    assert vhosts == ["/", "first", "second"]


def test_a_node_killed_as_soon_as_it_has_its_topology_comes_back_with_it(tmp_path: Path) -> None:
    node = Broker(tmp_path)
    try:
        node.start()
        node.import_definitions(definitions_for("lcs", []) | {"permissions": []})
        declared = node.manage("GET", "/api/bindings/lcs")
        node.kill()
        node.start()
        assert node.manage("GET", "/api/bindings/lcs") == declared != []
    finally:
        node.kill()
