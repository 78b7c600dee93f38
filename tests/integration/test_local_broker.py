"""The private RabbitMQ node of the local stack."""

from pathlib import Path

from deploy.local.broker import Broker


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
