"""Dashboards and rules against the real thing: Prometheus scrapes the stack under load."""

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deploy.grafana.boards import FOLDER
from deploy.local.process import wait_for
from tests.e2e.systems import Containers

ROOT = Path(__file__).parent.parent.parent
RULES = sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yml"))
PROMETHEUS = "prom/prometheus:latest"
ONLY_WITH_TLS = "probe_ssl_earliest_cert_expiry"
ONLY_WITH_AN_EDGE = re.compile(r"\bkamailio_")
"""Seen in test_sip.py."""
VARIABLES = {"$__rate_interval": "20s", "$pool": ".*", "$front_end": ".*"}
"""As Grafana fills them in, with five seconds between scrapes."""

pytestmark = pytest.mark.containers


def promtool(containers: Containers, *arguments: str) -> str:
    """Run promtool of the Prometheus image on the files here; return what it says."""
    said: bytes = containers.engine.containers.run(
        PROMETHEUS,
        list(arguments),
        entrypoint="promtool",
        volumes={str(ROOT): {"bind": "/lcs", "mode": "ro"}},
        remove=True,
        stderr=True,
    )
    return said.decode()


def test_every_rule_holds_its_unit_tests(containers: Containers) -> None:
    files = [f"/lcs/tests/prometheus/{path.name}" for path in (ROOT / "tests" / "prometheus").iterdir()]
    assert promtool(containers, "test", "rules", *files).count("SUCCESS") == len(files)


def test_the_configuration_is_one_that_prometheus_reads(containers: Containers) -> None:
    assert "SUCCESS" in promtool(containers, "check", "config", "/lcs/deploy/prometheus/prometheus.yml")


def panels() -> Iterator[tuple[str, str]]:
    """Yield every query of every panel, with where it stands."""
    for path in sorted(FOLDER.iterdir()):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                expr = target["expr"]
                for name, value in VARIABLES.items():
                    expr = expr.replace(name, value)
                yield f"{path.stem}: {panel['title']}", expr


def rules() -> Iterator[tuple[str, str]]:
    """Yield the expression of every rule, with its name."""
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                yield rule.get("alert") or rule["record"], rule["expr"]


class Prometheus:
    """The stack's Prometheus."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, trust_env=False, timeout=30)

    def ask(self, path: str, parameters: dict[str, str]) -> Any:
        """Return the data of an answer of Prometheus's API."""
        response = self._http.get(f"/api/v1/{path}", params=parameters)
        assert response.status_code == httpx.codes.OK, f"{parameters}: {response.text}"
        return response.json()["data"]

    def samples(self, expr: str) -> list[Any]:
        """Return what an expression finds now."""
        found: list[Any] = self.ask("query", {"query": expr})["result"]
        return found

    def value(self, expr: str) -> float:
        """Return the one value of an expression, -1 if it has none."""
        samples = self.samples(expr)
        return float(samples[0]["value"][1]) if samples else -1.0

    def wait_for(self, expr: str, what: str) -> None:
        """Return when an expression finds something."""
        wait_for(lambda: bool(self.samples(expr)), f"{what}: {expr}", seconds=90, every=0.5)


@contextlib.contextmanager
def load(containers: Containers) -> Iterator[None]:
    """Send IMs one after the other, some of them wrong, and ask for one that is not there."""
    stopping = threading.Event()
    im = {"sender": "a@contoso.com", "recipients": ["b@contoso.com"], "body": "hello"}

    def client(url: str, person: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {containers.tokens[person]}"}
        return httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=30)

    def send() -> None:
        with (
            client(containers.front_end_urls[0], "connector") as connector,
            client(containers.admin_url, "compliance") as officer,
        ):
            while not stopping.is_set():
                for document in (im, im, im, im | {"sender": ""}):
                    connector.post("/v1/messages", json=document)
                officer.get("/v1/messages/0199c0de-0000-7000-8000-000000000000")

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


@pytest.fixture
def prometheus(containers: Containers) -> Iterator[Prometheus]:
    """The stack's Prometheus, while the stack is under load and everybody's IMs are archived."""
    administrator = {"Authorization": f"Bearer {containers.tokens['administrator']}"}
    with httpx.Client(base_url=containers.admin_url, headers=administrator, trust_env=False) as client:
        client.put("/v1/policy/domains/contoso.com", json={}).raise_for_status()
        client.put("/v1/policy/global/internal", json={"archive": "everyone"}).raise_for_status()
    with load(containers):
        yield Prometheus(containers.prometheus_url)


def test_every_panel_has_data_and_every_rule_its_metrics(prometheus: Prometheus) -> None:
    for where, expr in panels():
        prometheus.samples(expr)  # it parses
        if not ONLY_WITH_AN_EDGE.search(expr):
            prometheus.wait_for(expr, where)
    for path in sorted(FOLDER.iterdir()):
        for variable in json.loads(path.read_text())["templating"]["list"]:
            found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"])
            assert found is not None
            match = {"match[]": found[1].replace("$pool", ".*")}
            assert prometheus.ask(f"label/{found[2]}/values", match), variable["query"]
    for name, expr in rules():
        for metric in re.findall(r"\b(?:lcs_|lcs:|rabbitmq_|probe_)[\w:]*\w\b", expr):
            if metric not in {ONLY_WITH_TLS, "rabbitmq_alarms_"}:
                prometheus.wait_for(metric, name)
    health = [rule for group in prometheus.ask("rules", {})["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in health} == {"ok"}, [rule.get("lastError") for rule in health]


def test_the_depth_rises_without_a_worker_and_falls_with_one(
    prometheus: Prometheus, containers: Containers
) -> None:
    depth = next(expr for where, expr in panels() if where == "lcs-overview: Queue depth of lcslog")
    prometheus.wait_for("lcs:lcslog:consumers > 0", "a worker")
    containers.compose("stop", "archiving")
    try:
        prometheus.wait_for(f"{depth} > 20", "the depth to rise")
        prometheus.wait_for(f"{depth} > {prometheus.value(depth)}", "the depth to rise further")
        prometheus.wait_for("lcs:lcslog_oldest:age_seconds > 10", "the oldest IM to wait")
        prometheus.wait_for('ALERTS{alertname="LcslogNoConsumer"}', "an alert")
    finally:
        containers.start_workers()
    prometheus.wait_for(f"{depth} < 20", "the depth to fall")
    prometheus.wait_for("lcs:lcslog_oldest:age_seconds < 10", "no IM to wait")


def test_ims_in_the_queue_are_counted_however_many_are_in_a_message(containers: Containers) -> None:
    prometheus = Prometheus(containers.prometheus_url)
    connector = {"Authorization": f"Bearer {containers.tokens['connector']}"}
    im = b'{"sender": "a@contoso.com", "recipients": ["b@contoso.com"], "body": "hello"}\n'
    prometheus.wait_for("lcs:lcslog:messages == 0", "an empty queue")
    containers.compose("stop", "archiving")
    try:
        with httpx.Client(
            base_url=containers.front_end_urls[0], headers=connector, trust_env=False
        ) as client:
            for ims in (1, 2000, 1, 300):
                ndjson = {"Content-Type": "application/x-ndjson"}
                client.post("/v1/messages", content=im * ims, headers=ndjson, timeout=60).raise_for_status()
        prometheus.wait_for("lcs:lcslog:ims == 2302", "them all to be counted")
        assert prometheus.value("lcs:lcslog:messages") < 2302
        prometheus.wait_for("lcs:lcslog_drain:seconds == +Inf", "no end to be in sight")
    finally:
        containers.start_workers()
    prometheus.wait_for("lcs:lcslog:ims == 0", "the queue to be empty")
    prometheus.wait_for("lcs:lcslog_drain:seconds == 0", "it to be known as empty")


@contextlib.contextmanager
def nothing_is_stored(containers: Containers) -> Iterator[None]:
    """Lock the table of IMs: workers hang, and all else goes on."""
    [postgres] = containers.containers("postgres")
    psql = ["psql", "--username=postgres", "--dbname=lcslog", "--command"]
    lock = "BEGIN; LOCK TABLE archive.messages IN EXCLUSIVE MODE; SELECT pg_sleep(600)"
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'BEGIN; LOCK%'"
    postgres.exec_run([*psql, lock], detach=True)
    try:
        yield
    finally:
        code, said = postgres.exec_run([*psql, end])
        assert code == 0, said


def test_a_worker_that_hangs_is_seen_by_what_it_holds(prometheus: Prometheus, containers: Containers) -> None:
    held = "time() - (lcs_archiving_unacknowledged_oldest_timestamp_seconds > 0)"
    prometheus.wait_for("lcs:lcslog:consumers > 0", "a worker")
    with nothing_is_stored(containers):
        prometheus.wait_for(f"{held} > 20", "what it holds to grow old")
        prometheus.wait_for("lcs_archiving_unacknowledged_ims > 0", "IMs to be held")
        prometheus.wait_for("lcs:lcslog_oldest:age_seconds > 20", "the oldest IM to wait")
        prometheus.wait_for('ALERTS{alertname="WorkerStuck"}', "an alert")
    prometheus.wait_for("lcs:lcslog_oldest:age_seconds < 10", "no IM to wait")


def test_a_container_that_stops_is_missed(prometheus: Prometheus, containers: Containers) -> None:
    answering = 'lcs:answering:replicas{job="frontend"}'
    stopped, *_ = containers.containers("frontend")
    prometheus.wait_for(f"{answering} == 2", "two front ends")
    stopped.stop(timeout=10)
    try:
        prometheus.wait_for(f'{answering} == 1 unless on () up{{job="frontend"}} == 0', "it to be unknown")
    finally:
        stopped.start()
    prometheus.wait_for(f"{answering} == 2", "it to be back")
