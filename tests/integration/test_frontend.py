"""A front end beside a real broker, over real HTTP."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from contract.message import AGENT_TYPE, IM_TYPE, decode_ims, decode_statement, headers_of, make_id
from contract.policy import GlobalSetting, PolicySettings, PolicyUser
from contract.topology import CDR_QUEUE, QUEUE
from deploy.credentials import FRONT_END_USER
from deploy.local.process import wait_for
from tests.conftest import Delivery, Vhost
from tests.integration.frontend_service import IM, NDJSON, FrontEnd, ims_of


def test_an_im_is_on_the_queue_when_it_is_answered(vhost: Vhost, front_end: FrontEnd) -> None:
    response = front_end.post(IM)
    assert response.status_code == httpx.codes.CREATED
    answer = response.json()
    assert answer["archived"]
    assert answer["rule"] == "no-policy"
    [delivery] = [d for d in vhost.take(QUEUE) if d.properties.type == IM_TYPE]
    [im] = decode_ims(delivery.body)
    assert str(im.id) == answer["id"]
    assert (im.sender, im.body, im.seq) == ("sip:yannis@contoso.com", "hello", 1)
    assert delivery.properties.delivery_mode == 2
    assert delivery.properties.headers | headers_of([im]) == delivery.properties.headers


def test_a_broker_that_is_down_at_start_and_later_costs_503_and_nothing_else(
    own_broker: Vhost, start: Callable[..., FrontEnd]
) -> None:
    own_broker.broker.kill()
    front_end = start(own_broker.url("frontend"), LCS_DEADLINE_SECONDS="1")
    down = front_end.post(IM | {"body": "at start"})
    assert down.status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert down.headers["retry-after"] == "1"
    assert "not to be delivered" in down.json()["detail"]
    assert front_end.http.get("/readyz").status_code == httpx.codes.SERVICE_UNAVAILABLE

    own_broker.broker.start()
    front_end.wait_until_ready()
    assert front_end.post(IM | {"body": "up"}).status_code == httpx.codes.CREATED

    own_broker.broker.kill()
    assert front_end.post(IM | {"body": "later"}).status_code == httpx.codes.SERVICE_UNAVAILABLE
    own_broker.broker.start()
    front_end.wait_until_ready()
    assert front_end.post(IM | {"body": "up again"}).status_code == httpx.codes.CREATED
    assert [im.body for im in ims_of(own_broker.take(QUEUE))] == ["up", "up again"]


def test_an_im_that_could_not_be_made_safe_is_told_its_id_to_be_sent_again_under_it(
    own_broker: Vhost, start: Callable[..., FrontEnd]
) -> None:
    front_end = start(own_broker.url("frontend"), LCS_DEADLINE_SECONDS="0.5")
    front_end.wait_until_ready()
    own_broker.broker.pause()
    refused = front_end.post(IM)
    own_broker.broker.resume()
    assert refused.status_code == httpx.codes.SERVICE_UNAVAILABLE
    again = IM | {"id": refused.json()["id"]}
    wait_for(lambda: front_end.post(again).status_code == httpx.codes.CREATED, "the broker again")
    assert {str(im.id) for im in ims_of(own_broker.take(QUEUE))} == {again["id"]}


def test_while_the_broker_is_short_of_memory_it_costs_503_and_no_new_connections(
    own_broker: Vhost, start: Callable[..., FrontEnd]
) -> None:
    front_end = start(own_broker.url("frontend"), LCS_DEADLINE_SECONDS="0.5")
    front_end.wait_until_ready()
    own_broker.broker.control("set_vm_memory_high_watermark", "0.0000001")
    for _ in range(6):
        assert front_end.post(IM | {"body": "meanwhile"}).status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert front_end.http.get("/readyz").json()["state"] == "blocking"
    assert front_end.connections == 1
    own_broker.broker.control("set_vm_memory_high_watermark", "0.8")
    front_end.wait_until_ready()
    assert front_end.post(IM | {"body": "after"}).status_code == httpx.codes.CREATED
    stored = [im.body for im in ims_of(own_broker.take(QUEUE))]
    assert stored.count("after") == 1
    assert stored.count("meanwhile") <= 1


def test_every_im_answered_201_survives_a_broker_killed_in_mid_stream(
    own_broker: Vhost, start: Callable[..., FrontEnd]
) -> None:
    front_end = start(own_broker.url("frontend"), LCS_DEADLINE_SECONDS="1", LCS_PUBLISH_IMS="20")
    front_end.wait_until_ready()
    killed = False

    def lines() -> Iterator[bytes]:
        nonlocal killed
        for number in range(20_000):
            if number == 10_000:
                own_broker.broker.kill()
                killed = True
            yield json.dumps(IM | {"body": str(number), "id": str(make_id())}).encode() + b"\n"

    response = front_end.http.post("/v1/messages", content=lines(), headers=NDJSON)
    answers = [json.loads(line) for line in response.content.splitlines()]
    assert killed
    assert len(answers) == 20_000
    assert {answer["status"] for answer in answers} == {201, 503}
    own_broker.broker.start()
    stored = ims_of(own_broker.take(QUEUE))
    assert {answer["id"] for answer in answers if answer["status"] == 201} <= {str(im.id) for im in stored}
    for agent in {im.agent for im in stored}:
        numbers = [im.seq for im in stored if im.agent == agent]
        assert numbers == list(range(1, len(numbers) + 1))


def test_a_queue_that_takes_no_more_costs_503_and_no_number(vhost: Vhost, front_end: FrontEnd) -> None:
    limit = {
        "pattern": "^lcslog$",
        "definition": {"max-length": 1, "overflow": "reject-publish"},
        "priority": 9,
    }
    assert front_end.post(IM).status_code == httpx.codes.CREATED
    path = f"/api/policies/{vhost.path}/full"
    vhost.broker.manage("PUT", path, limit)
    wait_for(
        lambda: front_end.post(IM).status_code == httpx.codes.SERVICE_UNAVAILABLE, "a full queue", seconds=30
    )
    vhost.broker.manage("DELETE", path)
    wait_for(lambda: front_end.post(IM).status_code == httpx.codes.CREATED, "room again", seconds=30)
    stored = ims_of(vhost.take(QUEUE))
    assert [im.seq for im in stored] == list(range(1, len(stored) + 1))
    assert len({im.agent for im in stored}) == 1


def test_an_agent_says_how_far_it_got_when_it_is_quiet_and_when_it_ends(
    vhost: Vhost, front_end: FrontEnd
) -> None:
    assert len(front_end.stream([json.dumps(IM).encode()] * 10)) == 10
    taken: list[Delivery] = []

    def stated() -> bool:
        taken.extend(vhost.take(QUEUE))
        return any(d.properties.type == AGENT_TYPE for d in taken)

    wait_for(stated, "a statement")
    assert front_end.process.stop(signal.SIGTERM) == 0
    taken.extend(vhost.take(QUEUE))
    statements = [decode_statement(d.body) for d in taken if d.properties.type == AGENT_TYPE]
    assert [(s.confirmed, s.ended, s.front_end) for s in statements] == [
        (10, False, "fe1"),
        (10, True, "fe1"),
    ]
    assert {im.agent for im in ims_of(taken)} == {statements[0].agent}
    assert {d.properties.user_id for d in taken} == {FRONT_END_USER}
    assert {d.properties.user_id for d in vhost.take(CDR_QUEUE)} == {FRONT_END_USER}


def test_a_front_end_without_admin_api_goes_by_its_last_snapshot(
    vhost: Vhost, start: Callable[..., FrontEnd], tmp_path: Path
) -> None:
    state = tmp_path / "fe" / "state" / "1"
    state.mkdir(parents=True)
    header = PolicySettings(
        version=5,
        since=0,
        internal=GlobalSetting.PER_USER,
        federated=GlobalSetting.NONE,
        domains=frozenset({"contoso.com"}),
        pools=(),
    )
    (state / "policy.ndjson").write_bytes(
        b"\n".join(map(msgspec.json.encode, [header, PolicyUser("sip:administrator@contoso.com", 1)]))
    )
    front_end = start(vhost.url("frontend"), LCS_ADMIN_API_URL="http://127.0.0.1:9")
    front_end.wait_until_ready()
    wait_for(lambda: front_end.post(IM).json()["rule"] == "internal-user", "the admin API to be given up")
    assert front_end.http.get("/readyz").json()["policy"] == {"version": 5, "source": "snapshot"}
    other = front_end.post(IM | {"recipients": ["nora@contoso.com"]})
    assert (other.status_code, other.json()["rule"]) == (200, "internal-no-user")
    federated = front_end.post(IM | {"recipients": ["x@partner.com"]})
    assert (federated.status_code, federated.json()["archived"]) == (200, False)


def test_a_snapshot_that_cannot_be_read_means_that_everything_is_archived(
    vhost: Vhost, start: Callable[..., FrontEnd], tmp_path: Path
) -> None:
    state = tmp_path / "fe" / "state" / "1"
    state.mkdir(parents=True)
    (state / "policy.ndjson").write_bytes(b"")
    front_end = start(vhost.url("frontend"))
    front_end.wait_until_ready()
    policy = front_end.http.get("/readyz").json()["policy"]
    assert (policy["version"], policy["source"]) == (0, "none")
    assert "everything is archived" in policy["detail"]
    assert front_end.post(IM).json()["rule"] == "no-policy"


@pytest.mark.parametrize("content_type", ["application/json", "application/x-ndjson"])
def test_a_client_that_goes_away_in_mid_request_is_no_error(front_end: FrontEnd, content_type: str) -> None:
    with socket.create_connection(("127.0.0.1", front_end.port), timeout=20) as connection:
        connection.sendall(
            b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n"
            b"Content-Type: " + content_type.encode() + b"\r\nContent-Length: 1000\r\n\r\n{"
        )
    assert front_end.post(IM).status_code == httpx.codes.CREATED
    assert front_end.process.stop(signal.SIGTERM) == 0
    assert "Traceback" not in front_end.process.log.read_text()


def test_what_is_counted_tells_outcomes_and_rules_but_nobody_s_name(front_end: FrontEnd) -> None:
    front_end.post(IM)
    front_end.post(IM | {"recipients": []})
    front_end.stream([json.dumps(IM).encode(), b"{"])
    metrics = front_end.http.get("/metrics").text
    assert (
        'lcs_frontend_answered_ims_total{front_end="fe1",pool="pool1",rule="no-policy",status="201"} 2.0'
        in metrics
    )
    assert 'lcs_frontend_answered_ims_total{front_end="fe1",pool="pool1",rule="",status="422"} 1.0' in metrics
    assert 'lcs_frontend_answered_ims_total{front_end="fe1",pool="pool1",rule="",status="400"} 1.0' in metrics
    assert 'lcs_frontend_confirmed_ims_total{front_end="fe1",pool="pool1"} 2.0' in metrics
    assert "contoso" not in metrics


def test_logs_have_neither_text_nor_tokens(front_end: FrontEnd) -> None:
    front_end.post(IM | {"body": "confidential words"})
    front_end.post(IM | {"body": "confidential words", "recipients": []})
    assert front_end.process.stop() == 0
    log = front_end.process.log.read_text()
    assert log
    assert "confidential" not in log
    assert "secret" not in log


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"LCS_PORT": "many"}, "LCS_PORT: Input should be a valid integer"),
        ({"LCS_AMQP_URL": "localhost:5672"}, "LCS_AMQP_URL: Value error, an address begins with amqp://"),
        ({"LCS_POOL": "pool1~fe1"}, "LCS_POOL: String should match pattern"),
        ({"LCS_ADMIN_API_URL": "nowhere"}, "LCS_ADMIN_API_URL: Input should be a valid URL"),
        ({"LCS_CONNECTORS_FILE": "/nowhere"}, "LCS_CONNECTORS_FILE: [Errno 2] No such file"),
        ({"LCS_CONNECTORS_FILE": __file__}, "LCS_CONNECTORS_FILE: Expected `array`"),
    ],
)
def test_a_bad_setting_stops_the_service_with_one_clear_line(
    tmp_path: Path, settings: dict[str, str], says: str
) -> None:
    connectors = tmp_path / "connectors.json"
    connectors.write_text("[]")
    fine = {
        "LCS_AMQP_URL": "amqp://x",
        "LCS_CONNECTORS_FILE": str(connectors),
        "LCS_STATE_DIR": str(tmp_path),
    }
    result = subprocess.run(
        [sys.executable, "-m", "frontend"],
        env=os.environ | fine | settings,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.startswith(says)
    assert result.stderr.count("\n") == 1
