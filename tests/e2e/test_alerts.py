"""One cause is one message: Alertmanager with the rules that are shipped."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest

from deploy.local.process import find_free_port, wait_for

ROOT = Path(__file__).parent.parent.parent
PORT = "9093/tcp"

pytestmark = pytest.mark.containers

Alert = dict[str, str]
"""Its labels."""


def alert(name: str, severity: str = "page", **labels: str) -> Alert:
    return {"alertname": name, "severity": severity, **labels}


WORKER = {"job": "archiving", "instance": "w1"}
STUCK = alert("WorkerStuck", **WORKER)
GROWING = alert("LcslogGrowing")
NO_CONSUMER = alert("LcslogNoConsumer")
BLOCKING = alert("FrontEndBlocking", front_end="fe1", pool="pool1")
PARKED = alert("ImsParked", "ticket")
HOLE = alert("CompletenessHole", pool="pool1")


def down(job: str, instance: str = "i") -> Alert:
    return alert("ServiceDown", job=job, instance=instance)


@pytest.fixture(scope="module")
def alertmanager(engine: docker.DockerClient) -> Iterator[httpx.Client]:
    """Its API."""
    image, _ = engine.images.build(
        path=str(ROOT / "tests" / "e2e"),
        dockerfile="alertmanager.Dockerfile",
        tag="lcs-archive/test-alertmanager",
        rm=True,
    )
    port = find_free_port()
    container = engine.containers.run(
        image,
        detach=True,
        ports={PORT: ("127.0.0.1", port)},
        volumes={str(ROOT): {"bind": "/lcs", "mode": "ro"}},
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:

            def is_ready() -> bool:
                try:
                    return client.get("/-/ready").is_success
                except httpx.TransportError:
                    return False

            wait_for(is_ready, "Alertmanager")
            yield client
    finally:
        container.remove(force=True)


@pytest.mark.parametrize(
    ("firing", "told"),
    [
        pytest.param(
            [STUCK, GROWING, alert("CommitLatencyHigh", "ticket")],
            [STUCK],
            id="a worker that waits for a lock",
        ),
        pytest.param(
            [down(**WORKER), STUCK, GROWING, NO_CONSUMER, alert("ReplicaGone", "ticket", job="archiving")],
            [down(**WORKER)],
            id="a worker whose process is stopped",
        ),
        pytest.param(
            [down(**WORKER), alert("WorkerStuck", job="archiving", instance="w2")],
            [down(**WORKER), alert("WorkerStuck", job="archiving", instance="w2")],
            id="a worker that is down and another that is stuck",
        ),
        pytest.param(
            [
                alert("DatabaseAway", job="archiving"),
                STUCK,
                GROWING,
                alert("CdrBehind", "ticket"),
                alert("NoticesNotRecorded", "ticket", front_end="fe1"),
            ],
            [alert("DatabaseAway", job="archiving")],
            id="a database that is away",
        ),
        pytest.param(
            [
                down("rabbitmq"),
                down("rabbitmq-queues"),
                *(alert("BrokerAway", front_end=name) for name in ("fe1", "fe2")),
                NO_CONSUMER,
                BLOCKING,
                alert("SpoolFilling", front_end="fe2"),
            ],
            [down("rabbitmq"), BLOCKING, alert("SpoolFilling", front_end="fe2")],
            id="a broker that is down, and people who can't send",
        ),
        pytest.param(
            [down("admin-api"), alert("PolicyUnconfirmed", "ticket", front_end="fe1"), HOLE, PARKED],
            [down("admin-api"), HOLE, PARKED],
            id="no admin API, and an IM that is missing",
        ),
    ],
)
def test_one_cause_is_told_and_not_its_consequences(
    alertmanager: httpx.Client, firing: list[Alert], told: list[Alert]
) -> None:
    alertmanager.post("/api/v2/alerts", json=[{"labels": labels} for labels in firing]).raise_for_status()
    try:
        wait_for(lambda: len(listed(alertmanager)) == len(firing), "the alerts to be there")
        wait_for(
            lambda: sort(each["labels"] for each in listed(alertmanager) if is_told(each)) == sort(told),
            f"{told} to be told",
        )
    finally:
        over = [{"labels": labels, "endsAt": "2000-01-01T00:00:00Z"} for labels in firing]
        alertmanager.post("/api/v2/alerts", json=over).raise_for_status()
        wait_for(lambda: not listed(alertmanager), "the alerts to be over")


def test_what_is_urgent_goes_to_those_who_are_woken(alertmanager: httpx.Client) -> None:
    for labels, receiver in ((STUCK, "page"), (PARKED, "ticket")):
        alertmanager.post("/api/v2/alerts", json=[{"labels": labels}]).raise_for_status()
        wait_for(lambda: bool(listed(alertmanager)), "the alert to be there")
        assert [each["receivers"] for each in listed(alertmanager)] == [[{"name": receiver}]]
        over = [{"labels": labels, "endsAt": "2000-01-01T00:00:00Z"}]
        alertmanager.post("/api/v2/alerts", json=over).raise_for_status()
        wait_for(lambda: not listed(alertmanager), "the alert to be over")


def listed(alertmanager: httpx.Client) -> list[dict[str, Any]]:
    alerts: list[dict[str, Any]] = alertmanager.get("/api/v2/alerts").raise_for_status().json()
    return alerts


def is_told(listed_alert: dict[str, Any]) -> bool:
    return not listed_alert["status"]["inhibitedBy"]


def sort(alerts: Iterator[Alert] | list[Alert]) -> list[list[tuple[str, str]]]:
    return sorted(sorted(labels.items()) for labels in alerts)
