"""Prometheus is told of every broker node, misses every service, and asks for what services tell."""

import re
from pathlib import Path
from typing import Any

import yaml
from pika.spec import BasicProperties
from prometheus_client import REGISTRY

import admin_api.metrics  # noqa: F401 -- registers
import archiving.metrics  # noqa: F401
import frontend.metrics  # noqa: F401
import runtime.security  # noqa: F401
from archiving.delivery import Delivery, Unacknowledged
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


def test_a_service_of_which_nothing_is_left_is_missed_if_every_stack_has_it() -> None:
    jobs = {job["job_name"] for job in _read("deploy/prometheus/prometheus.yml")["scrape_configs"]}
    groups = _read("deploy/prometheus/rules/alerts.yml")["groups"]
    [missed] = [r["expr"] for group in groups for r in group["rules"] if r.get("alert") == "ServiceDown"]
    assert set(re.findall(r'absent\(up{job="([\w-]+)"}\)', missed)) == jobs - {
        "certificates",
        "edge",
        "proxy",
    }


def _delivery(tag: int, published: int | None, ims: int | None) -> Delivery:
    properties = BasicProperties(timestamp=published, headers=None if ims is None else {"count": ims})
    return Delivery(1, tag, properties, b"", consumed=1000)


def test_a_worker_tells_of_what_it_took_and_has_not_acknowledged() -> None:
    held = Unacknowledged()
    assert (held.oldest, held.ims, bool(held)) == (0, 0, False)
    for delivery in (_delivery(1, 500, 10), _delivery(2, 501, 20), _delivery(3, 502, 30)):
        held.add(delivery)
    assert (held.oldest, held.ims) == (500, 60)
    held.remove(2)  # and all before it
    assert (held.oldest, held.ims) == (502, 30)
    held.remove(2)
    held.add(_delivery(4, None, None))  # not one of ours: it counts, since it was taken
    held.remove(3)
    assert (held.oldest, held.ims, bool(held)) == (1000, 1, True)
    held.clear()
    assert (held.oldest, held.ims, bool(held)) == (0, 0, False)
