"""Connectors are kept apart: a front end over HTTP, beside the real admin API."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.address import domain_of
from contract.topology import QUEUE
from deploy.local.broker import Broker
from deploy.local.process import wait_for
from runtime.token import hash_token
from tests.conftest import ArchiveDatabase, Vhost, declare
from tests.integration.admin.conftest import AdminApi, running_api
from tests.integration.frontend_service import GATEWAY, IM, FrontEnd, ims_of

CEO = {"sender": "ceo@litware.com", "recipients": ["yannis@contoso.com"], "body": "sell"}


@pytest.fixture
def api(vhost: Vhost, database: ArchiveDatabase, tmp_path: Path) -> Iterator[AdminApi]:
    """The admin API."""
    with running_api(database, tmp_path, amqp_url=vhost.url("admin-api")) as running:
        yield running


@pytest.fixture
def beside(api: AdminApi, vhost: Vhost, start: Callable[..., FrontEnd]) -> FrontEnd:
    """A front end beside the admin API."""
    one = start(vhost.url("frontend"), LCS_ADMIN_API_URL=api.url, LCS_ADMIN_API_TOKEN="frontend")
    one.wait_until_ready()
    _wait_for_policy(one, api)
    return one


def _wait_for_policy(front_end: FrontEnd, api: AdminApi) -> None:
    def runs() -> bool:
        return bool(front_end.http.get("/readyz").json()["policy"]["version"] == api.version)

    wait_for(runs, "the policy")


def _refused(front_end: FrontEnd, im: dict[str, Any], **headers: str) -> str:
    answer = front_end.post(im, **headers)
    assert (answer.status_code, answer.json()["field"]) == (403, "/sender"), answer.text
    return str(answer.json()["detail"])


def test_a_connector_speaks_for_nobody_else_s_domain_declared_or_not(beside: FrontEnd, api: AdminApi) -> None:
    assert "gateway_for" in _refused(beside, CEO), "litware.com is nobody's yet"
    api.administrator.put("/v1/policy/domains/litware.com").raise_for_status()
    _wait_for_policy(beside, api)
    assert "doesn't speak for litware.com" in _refused(beside, CEO)


def test_foreign_people_come_by_their_gateway_alone(beside: FrontEnd, api: AdminApi) -> None:
    assert "gateway_for" in _refused(beside, CEO)
    assert beside.post(CEO, **GATEWAY).status_code == 201
    elsewhere = CEO | {"recipients": ["x@fabrikam.com"]}
    assert "speaks for nobody here" in _refused(beside, elsewhere, **GATEWAY)
    api.administrator.put("/v1/policy/domains/litware.com").raise_for_status()
    _wait_for_policy(beside, api)
    assert "doesn't speak for litware.com" in _refused(beside, CEO, **GATEWAY), "now it is ours"


def test_a_line_of_a_stream_is_refused_like_a_request(beside: FrontEnd) -> None:
    line = b'{"sender":"%s","recipients":["yannis@contoso.com"],"body":"hello"}'
    answers = beside.stream([line % b"ceo@litware.com", line % b"ada@contoso.com"])
    assert [answer["status"] for answer in answers] == [403, 201]


def test_whom_a_connector_may_speak_for_is_policy_and_applied_within_a_second(
    beside: FrontEnd, api: AdminApi
) -> None:
    ours = {"sender": "yannis@contoso.com", "recipients": ["ada@contoso.com"], "body": "hello"}
    assert beside.post(ours).status_code == 201, "as the file says"
    for domain in ("contoso.com", "litware.com"):
        api.administrator.put(f"/v1/policy/domains/{domain}").raise_for_status()
    document = {"domains": ["litware.com"], "gateway_for": ["fabrikam.com"]}
    api.administrator.put("/v1/policy/connectors/c", json=document).raise_for_status()
    changed = time.monotonic()
    _wait_for_policy(beside, api)
    assert time.monotonic() - changed < 1
    assert beside.post(CEO).status_code == 201
    assert beside.post(CEO | {"sender": "x@fabrikam.com", "recipients": ["a@litware.com"]}).status_code == 201
    assert "doesn't speak for contoso.com" in _refused(beside, ours)
    api.administrator.delete("/v1/policy/connectors/c").raise_for_status()
    _wait_for_policy(beside, api)
    assert beside.post(ours).status_code == 201, "as the file says again"


RIGHTS: Final = {
    "contoso": ({"contoso.com"}, set[str]()),
    "litware": ({"litware.com", "contoso.com"}, {"partner.org"}),
    "edge": ({"litware.com"}, {"*"}),
}
"""Connectors of one front end: their domains, and those that they are gateways for."""
OURS: Final = {"contoso.com", "litware.com"}
domains = st.sampled_from(["contoso.com", "litware.com", "fabrikam.com", "partner.org"])
keys = st.none() | st.sampled_from(["k", "connector:edge:k", "p2p:sip:a@contoso.com|sip:b@litware.com", ":"])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(list(RIGHTS)),
    domains,
    st.lists(domains, min_size=1, max_size=3, unique=True),
    keys,
)
def test_whatever_is_brought_its_sender_and_its_key_are_the_connectors_own(
    several: FrontEnd, name: str, sender: str, recipients: list[str], key: str | None
) -> None:
    im: dict[str, Any] = {"sender": f"a@{sender}", "recipients": [f"b@{each}" for each in recipients]}
    im |= {"body": name} if key is None else {"body": f"{name} keyed", "conversation": key}
    answer = several.post(im, Authorization=f"Bearer {name}")
    own, gateway_for = RIGHTS[name]
    foreign = sender not in OURS and not gateway_for.isdisjoint({sender, "*"})
    allowed = sender in own or (foreign and not own.isdisjoint(recipients))
    assert answer.status_code == (201 if allowed else 403), answer.text


@pytest.fixture(scope="module")
def several(
    broker: Broker, credentials: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FrontEnd]:
    """A front end with several connectors; what it publishes is looked at in the end."""
    folder = tmp_path_factory.mktemp("several")
    connectors = [
        {
            "name": name,
            "hash": hash_token(name),
            "pool": "pool1",
            "domains": [*own],
            "gateway_for": [*foreign],
        }
        for name, (own, foreign) in RIGHTS.items()
    ]
    (folder / "several.json").write_text(json.dumps(connectors))
    vhost = declare(broker, "several", credentials)
    front_end = FrontEnd(folder, vhost.url("frontend"), LCS_CONNECTORS_FILE=str(folder / "several.json"))
    try:
        front_end.wait_until_ready()
        yield front_end
        ims = ims_of(vhost.take(QUEUE))
        assert ims
        for im in ims:
            name, _, keyed = im.body.partition(" ")
            own, gateway_for = RIGHTS[name]
            domain = domain_of(im.sender)
            assert domain in own or (domain not in OURS and gateway_for)
            assert im.conversation.startswith(f"connector:{name}:" if keyed else ("p2p:sip:", "group:"))
    finally:
        front_end.process.kill()
        broker.manage("DELETE", f"/api/vhosts/{vhost.path}")


def test_a_connector_that_brings_ever_more_new_people_is_told_when_to_come_again(front_end: FrontEnd) -> None:
    groups = [
        IM | {"recipients": [f"sip:{number}-{place}@contoso.com" for place in range(500)]}
        for number in range(80)
    ]
    answers = [front_end.post(group) for group in groups]
    refused = [answer for answer in answers if answer.status_code == 503]
    assert refused
    assert all(answer.status_code in (201, 503) for answer in answers)
    assert all(1 <= int(answer.headers["Retry-After"]) <= 5 for answer in refused)
    assert front_end.post(IM).status_code == 201
    assert front_end.post(groups[0]).status_code == 201  # they are known
