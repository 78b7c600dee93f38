"""Prometheus is told of every broker node, and asked for nothing that no service tells."""

import re
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import REGISTRY

import admin_api.metrics  # noqa: F401 -- registers
import archiving.metrics  # noqa: F401
import frontend.metrics  # noqa: F401
from deploy.grafana.boards import render_all
from tests.chaos.containers.cluster import NODES

_ROOT = Path(__file__).parent.parent.parent
_RULES = _ROOT / "deploy" / "prometheus" / "rules"


def _read(path: str) -> Any:
    return yaml.safe_load((_ROOT / path).read_text())


def test_the_one_node_and_each_of_a_cluster_are_scraped() -> None:
    (mount,) = _read("deploy/compose/cluster.yml")["services"]["prometheus"]["volumes"]
    source, target, _ = mount.split(":")
    assert target == "/etc/prometheus/nodes.yml"
    assert _read("deploy/prometheus/nodes.yml") == [{"targets": ["rabbitmq:15692"]}]
    assert _read(source) == [{"targets": [f"{node}:15692" for node in NODES]}]


def test_every_figure_of_ours_that_is_asked_for_is_one_that_a_service_tells() -> None:
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    told = {
        family.name + suffix
        for family in REGISTRY.collect()  # of what is imported here
        for suffix in suffixes.get(family.type, ("",))
    }
    asked = "\n".join([*render_all().values(), *(path.read_text() for path in _RULES.iterdir())])
    names = set(re.findall(r"\blcs_[a-z_]+\b(?!\()", asked))
    assert names <= told, names - told
