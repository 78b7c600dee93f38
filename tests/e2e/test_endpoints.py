"""Every endpoint answers as documented, with the rights that each form of the stack gives its services."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import httpx
import pytest

from contract.message import make_id
from tests.e2e.systems import System


class Call(NamedTuple):
    """A good request. Some find nothing: what they are about, an honest stack has not."""

    who: str
    path: str
    status: int = 200
    json: Any = None
    content: str | None = None
    content_type: str = ""


_NAME = uuid.uuid4().hex[:12]
_DOMAIN = f"{_NAME}.example"
_USER = f"sip:somebody@{_DOMAIN}"
_IM = str(make_id())
_UNKNOWN = str(make_id())
_NOW = datetime.now(UTC).isoformat()
_HOUR = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:05:00Z"}
_REASON = {"reason": "every endpoint is tried"}
_FLAGS = {"archive_internal": False, "archive_federated": False}
_NOTICES = {
    "front_end": _NAME,
    "connector": "connector",
    "conversation": _NAME,
    "im": _IM,
    "at": _NOW,
    "version": 1,
    "notices": [{"partner": f"sip:a@{_DOMAIN}", "language": "en", "wording": "It is archived."}],
}
_CDR = str(httpx.QueryParams(_HOUR))
ADMIN_CALLS = {
    "GET /v1/policy/decision": Call(
        "administrator", f"/v1/policy/decision?sender={_USER}&recipient=sip:a@{_DOMAIN}&pool=pool1"
    ),
    "GET /v1/policy/snapshot": Call("frontend", "/v1/policy/snapshot"),
    "PATCH /v1/policy/users": Call(
        "administrator",
        "/v1/policy/users",
        content=f"address,archive_internal\n{_USER},true\nsip:another@{_DOMAIN},false\n",
        content_type="text/csv",
    ),
    "GET /v1/policy/users": Call("administrator", "/v1/policy/users"),
    "PUT /v1/policy/users/{address}": Call("administrator", f"/v1/policy/users/{_USER}", json=_FLAGS),
    "GET /v1/policy/users/{address}": Call("administrator", f"/v1/policy/users/{_USER}"),
    "DELETE /v1/policy/users/{address}": Call("administrator", f"/v1/policy/users/{_USER}", 204),
    "GET /v1/policy": Call("administrator", "/v1/policy"),
    "GET /v1/policy/pools": Call("administrator", "/v1/policy/pools"),
    "PUT /v1/policy/pools/{name}": Call(
        "administrator",
        f"/v1/policy/pools/{_NAME}",
        201,
        json={"archive": True, "critical": False, "archive_all_group": False},
    ),
    "GET /v1/policy/pools/{name}": Call("administrator", f"/v1/policy/pools/{_NAME}"),
    "DELETE /v1/policy/pools/{name}": Call("administrator", f"/v1/policy/pools/{_NAME}", 204),
    "GET /v1/policy/domains": Call("administrator", "/v1/policy/domains"),
    "PUT /v1/policy/domains/{domain}": Call("administrator", f"/v1/policy/domains/{_DOMAIN}", 201),
    "GET /v1/policy/domains/{domain}": Call("administrator", f"/v1/policy/domains/{_DOMAIN}"),
    "GET /v1/policy/connectors": Call("administrator", "/v1/policy/connectors"),
    "PUT /v1/policy/connectors/{name}": Call(
        "administrator", f"/v1/policy/connectors/{_NAME}", 201, json={"domains": [_DOMAIN]}
    ),
    "GET /v1/policy/connectors/{name}": Call("administrator", f"/v1/policy/connectors/{_NAME}"),
    "DELETE /v1/policy/connectors/{name}": Call("administrator", f"/v1/policy/connectors/{_NAME}", 204),
    "DELETE /v1/policy/domains/{domain}": Call("administrator", f"/v1/policy/domains/{_DOMAIN}", 204),
    "GET /v1/messages/changes": Call("compliance", "/v1/messages/changes?limit=1"),
    "GET /v1/messages": Call("compliance", f"/v1/messages?conversation={_NAME}&connector=connector"),
    "GET /v1/messages/{id}": Call("compliance", f"/v1/messages/{_UNKNOWN}", 404),
    "GET /v1/messages/{id}/trace": Call("operator", f"/v1/messages/{_UNKNOWN}/trace", 404),
    "POST /v1/disclaimers": Call("frontend", "/v1/disclaimers", json=_NOTICES),
    "GET /v1/disclaimers": Call("compliance", "/v1/disclaimers"),
    "POST /v1/disclaimers/{im}/told": Call(
        "frontend", f"/v1/disclaimers/{_IM}/told", 204, json={"connector": "connector", "at": _NOW}
    ),
    "DELETE /v1/disclaimers/{im}": Call("frontend", f"/v1/disclaimers/{_IM}?connector=connector", 204),
    "GET /v1/parked": Call("compliance", "/v1/parked"),
    "GET /v1/parked/{id}": Call("compliance", "/v1/parked/999999999", 404),
    "POST /v1/parked/replay": Call("operator", "/v1/parked/replay", json=_REASON),
    "POST /v1/parked/{id}/replay": Call("operator", "/v1/parked/999999999/replay", 404, json=_REASON),
    "POST /v1/parked/{id}/discard": Call("compliance", "/v1/parked/999999999/discard", 404, json=_REASON),
    "GET /v1/audit": Call("compliance", "/v1/audit"),
    "GET /v1/audit/{id}/changes": Call("compliance", "/v1/audit/999999999/changes", 404),
    "GET /v1/completeness": Call("operator", "/v1/completeness"),
    "POST /v1/completeness/{agent}/disown": Call(
        "operator", f"/v1/completeness/{_UNKNOWN}/disown", 404, json=_REASON
    ),
    "POST /v1/completeness/{agent}/own": Call(
        "operator", f"/v1/completeness/{_UNKNOWN}/own", 409, json=_REASON
    ),
    "GET /v1/cdr/attempts": Call("compliance", f"/v1/cdr/attempts?{_CDR}"),
    "GET /v1/cdr": Call("compliance", f"/v1/cdr?{_CDR}"),
    "GET /v1/cdr/csv": Call("compliance", f"/v1/cdr/csv?{_CDR}"),
    "GET /v1/cdr/reconciliation": Call("compliance", f"/v1/cdr/reconciliation?{_CDR}"),
    "POST /v1/front-ends/{name}/numbers": Call(
        "frontend", f"/v1/front-ends/{_NAME}/numbers", json={"pool": _NAME, "numbers": []}
    ),
    "GET /v1/front-ends": Call("operator", "/v1/front-ends"),
    "GET /healthz": Call("", "/healthz"),
    "GET /readyz": Call("", "/readyz"),
}
_SETTINGS = (
    "/v1/policy/global/internal",
    "/v1/policy/global/federated",
    "/v1/policy/disclaimer",
    "/v1/policy/cdr",
)
"""Each is put as it was found."""
_CHECK_IN = "POST /v1/front-ends/{name}/check-in"
"""The front ends do it all the time: another's would stay in every list."""
_SAID = {"sender": f"yannis-{_NAME}@contoso.com", "recipients": [f"ada-{_NAME}@contoso.com"], "body": "all"}
FRONT_END_CALLS = {
    "POST /v1/messages": Call("connector", "/v1/messages", json=_SAID),
    "POST /v1/sip": Call("connector", "/v1/sip", 400, content="no SIP", content_type="message/sip"),
    "POST /v1/notices/{im}/delivered": Call("connector", f"/v1/notices/{_UNKNOWN}/delivered", 404),
    "POST /v1/notices/{im}/undelivered": Call("connector", f"/v1/notices/{_UNKNOWN}/undelivered", 204),
    "POST /v1/attempts": Call(
        "connector",
        "/v1/attempts",
        204,
        json={"sender": "a@contoso.com", "recipient": "b@contoso.com", "kind": "file"},
    ),
    "GET /healthz": Call("", "/healthz"),
    "GET /readyz": Call("", "/readyz"),
    "GET /metrics": Call("", "/metrics"),
}


def _operations(document: dict[str, Any]) -> set[str]:
    return {f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item}


def _asker(url: str, system: System) -> Callable[[str, Call], httpx.Response]:
    tokens = {**system.tokens, "frontend": system.secret("frontend/lcs_admin_api_token").strip()}

    def ask(method: str, call: Call) -> httpx.Response:
        headers = {"Authorization": f"Bearer {tokens[call.who]}"} if call.who else {}
        if call.content is not None:
            headers["Content-Type"] = call.content_type
        return httpx.request(
            method,
            f"{url}{call.path}",
            headers=headers,
            json=call.json,
            content=call.content,
            timeout=60,
            trust_env=False,
        )

    return ask


@pytest.fixture(params=["admin API", "front end"])
def service(request: pytest.FixtureRequest, system: System) -> tuple[str, dict[str, Call]]:
    """A service's address, and a call of each of its endpoints."""
    if request.param == "admin API":
        return system.admin_url, ADMIN_CALLS
    return system.front_end_urls[0], FRONT_END_CALLS


def test_every_endpoint_answers_as_it_should(system: System, service: tuple[str, dict[str, Call]]) -> None:
    url, calls = service
    ask = _asker(url, system)
    document = ask("GET", Call("", "/openapi.json")).json()
    wrong = {}
    made = {_CHECK_IN}
    for name, call in calls.items():
        method, _, template = name.partition(" ")
        answer = ask(method, call)
        made.add(name)
        assert str(answer.status_code) in document["paths"][template][method.lower()]["responses"], name
        if answer.status_code != call.status and not (name == "POST /v1/messages" and answer.is_success):
            wrong[name] = (answer.status_code, answer.text[:300])
    if calls is ADMIN_CALLS:
        for path in _SETTINGS:
            found = ask("GET", Call("administrator", path)).raise_for_status().json()
            known = {key: value for key, value in found.items() if key not in ("scope", "version")}
            answer = ask("PUT", Call("administrator", path, json=known))
            if answer.status_code != httpx.codes.OK:
                wrong[path] = (answer.status_code, answer.text[:300])
            template = "/v1/policy/global/{scope}" if "/global/" in path else path
            made |= {f"GET {template}", f"PUT {template}"}
    assert not wrong
    assert not _operations(document) - made, "an endpoint that no call tries"
