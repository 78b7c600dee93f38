"""Who may do what, for every route there is; and that the API describes itself."""

import json
from typing import Any, Final

import httpx
import pytest

from admin_api.app import create_app
from admin_api.config import AdminSettings
from tests.integration.admin.conftest import NO_BROKER, ROLES, AdminApi
from tests.openapi import bodies_of

ADMINISTRATOR, COMPLIANCE, OPERATOR, FRONTEND = ROLES
READ_POLICY = {ADMINISTRATOR, OPERATOR}
ALLOWED: Final = {
    ("GET", "/v1/policy"): READ_POLICY,
    ("GET", "/v1/policy/global/{scope}"): READ_POLICY,
    ("PUT", "/v1/policy/global/{scope}"): {ADMINISTRATOR},
    ("GET", "/v1/policy/pools"): READ_POLICY,
    ("GET", "/v1/policy/pools/{name}"): READ_POLICY,
    ("PUT", "/v1/policy/pools/{name}"): {ADMINISTRATOR},
    ("DELETE", "/v1/policy/pools/{name}"): {ADMINISTRATOR},
    ("GET", "/v1/policy/domains"): READ_POLICY,
    ("GET", "/v1/policy/domains/{domain}"): READ_POLICY,
    ("PUT", "/v1/policy/domains/{domain}"): {ADMINISTRATOR},
    ("DELETE", "/v1/policy/domains/{domain}"): {ADMINISTRATOR},
    ("GET", "/v1/policy/connectors"): READ_POLICY,
    ("GET", "/v1/policy/connectors/{name}"): READ_POLICY,
    ("PUT", "/v1/policy/connectors/{name}"): {ADMINISTRATOR},
    ("DELETE", "/v1/policy/connectors/{name}"): {ADMINISTRATOR},
    ("GET", "/v1/policy/disclaimer"): READ_POLICY,
    ("PUT", "/v1/policy/disclaimer"): {ADMINISTRATOR},
    ("GET", "/v1/policy/cdr"): READ_POLICY,
    ("PUT", "/v1/policy/cdr"): {ADMINISTRATOR},
    ("GET", "/v1/policy/users"): READ_POLICY,
    ("PATCH", "/v1/policy/users"): {ADMINISTRATOR},
    ("GET", "/v1/policy/users/{address}"): READ_POLICY,
    ("PUT", "/v1/policy/users/{address}"): {ADMINISTRATOR},
    ("DELETE", "/v1/policy/users/{address}"): {ADMINISTRATOR},
    ("GET", "/v1/policy/decision"): READ_POLICY,
    ("GET", "/v1/policy/snapshot"): {FRONTEND},
    ("POST", "/v1/front-ends/{name}/check-in"): {FRONTEND},
    ("POST", "/v1/front-ends/{name}/numbers"): {FRONTEND},
    ("GET", "/v1/front-ends"): {OPERATOR, ADMINISTRATOR},
    ("GET", "/v1/messages"): {COMPLIANCE},
    ("GET", "/v1/messages/changes"): {COMPLIANCE},
    ("GET", "/v1/messages/{id}"): {COMPLIANCE},
    ("GET", "/v1/messages/{id}/trace"): {OPERATOR, COMPLIANCE},
    ("POST", "/v1/disclaimers"): {FRONTEND},
    ("POST", "/v1/disclaimers/{im}/told"): {FRONTEND},
    ("DELETE", "/v1/disclaimers/{im}"): {FRONTEND},
    ("GET", "/v1/disclaimers"): {COMPLIANCE},
    ("GET", "/v1/parked"): {OPERATOR, COMPLIANCE},
    ("GET", "/v1/parked/{id}"): {COMPLIANCE},
    ("POST", "/v1/parked/replay"): {OPERATOR, COMPLIANCE},
    ("POST", "/v1/parked/{id}/replay"): {OPERATOR, COMPLIANCE},
    ("POST", "/v1/parked/{id}/discard"): {COMPLIANCE},
    ("GET", "/v1/audit"): {COMPLIANCE, ADMINISTRATOR},
    ("GET", "/v1/audit/{id}/changes"): {COMPLIANCE, ADMINISTRATOR},
    ("GET", "/v1/cdr"): {COMPLIANCE},
    ("GET", "/v1/cdr/csv"): {COMPLIANCE},
    ("GET", "/v1/cdr/attempts"): {COMPLIANCE},
    ("GET", "/v1/cdr/reconciliation"): {OPERATOR, COMPLIANCE},
    ("GET", "/v1/completeness"): {OPERATOR, COMPLIANCE},
    ("POST", "/v1/completeness/{agent}/disown"): {OPERATOR},
    ("POST", "/v1/completeness/{agent}/own"): {OPERATOR},
}
OPEN = {("GET", "/healthz"), ("GET", "/readyz")}
PLACES = {
    "scope": "internal",
    "name": "pool1",
    "domain": "contoso.com",
    "address": "yannis@contoso.com",
    "id": "7",
    "im": "0199c0de-0000-7000-8000-000000000000",
    "agent": "0199c0de-0000-7000-8000-000000000000",
}


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    settings = AdminSettings(database_url="postgresql://", amqp_url=NO_BROKER, principals_file="/dev/null")
    return create_app(settings, {}).openapi()


def test_the_openapi_document_describes_every_operation(openapi: dict[str, Any]) -> None:
    operations = {
        (method.upper(), path): operation
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    }
    assert operations.keys() == ALLOWED.keys() | OPEN
    for route, operation in operations.items():
        assert operation["tags"], route
        assert operation["description"], route
        if route in ALLOWED:
            assert operation["security"], route
            problem = operation["responses"]["422"]["content"]
            assert list(problem) == ["application/problem+json"], route
        for parameter in operation.get("parameters", ()):
            assert "null" not in json.dumps(parameter["schema"]), (route, parameter["name"])


def test_each_role_may_do_its_part_and_no_more(api: AdminApi) -> None:
    for (method, path), allowed in ALLOWED.items():
        url = path.format(**PLACES)
        for role in ROLES:
            client: httpx.Client = getattr(api, role)
            answer = client.request(method, url)
            if role in allowed:
                assert answer.status_code not in (401, 403, 405, 500), (role, method, url)
            else:
                assert answer.status_code == 403, (role, method, url)
                assert answer.json()["title"] == "Forbidden"


def test_every_documented_example_of_a_body_is_taken(api: AdminApi, openapi: dict[str, Any]) -> None:
    for method, path, url, media_type, _, example in bodies_of(openapi):
        client: httpx.Client = getattr(api, min(ALLOWED[method, path]))
        content = example if isinstance(example, str) else json.dumps(example)
        answer = client.request(method, url, content=content, headers={"Content-Type": media_type})
        nothing_to_do = answer.status_code in (404, 409) and path.split("/")[2] in ("parked", "completeness")
        assert answer.is_success or nothing_to_do, (method, path, answer.text)


def test_without_a_known_token_nothing_is_served(idle_api: AdminApi) -> None:
    for method, path in ALLOWED:
        for authorization in (None, "Bearer", "Bearer unknown", "Basic YWRtaW5pc3RyYXRvcg=="):
            headers = {} if authorization is None else {"Authorization": authorization}
            answer = idle_api.anybody.request(method, path.format(**PLACES), headers=headers)
            assert answer.status_code == 401, (method, path, authorization)
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            assert answer.headers["Content-Type"] == "application/problem+json"


def test_health_and_metrics_need_no_token_and_name_no_addresses(api: AdminApi) -> None:
    assert api.anybody.get("/healthz").status_code == 200
    ready = api.anybody.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"database": "ready", "broker": "away"})
    api.administrator.get("/v1/policy/users/yannis@contoso.com")
    api.anybody.get("/nowhere/yannis@contoso.com")
    metrics = api.anybody.get("/metrics").text
    assert 'route="/v1/policy/users/{address:path}",status="404"' in metrics
    assert 'route="none",status="404"' in metrics
    assert "yannis" not in metrics


def test_an_unknown_path_is_a_problem(idle_api: AdminApi) -> None:
    answer = idle_api.anybody.get("/v1/nowhere")
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")
