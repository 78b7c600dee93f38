"""Whom connectors may speak for is policy: versioned, audited, told to front ends."""

import pytest

from tests.integration.admin.conftest import AdminApi
from tests.integration.admin.test_snapshots import fetch

EDGE = "/v1/policy/connectors/edge"


def _declare(api: AdminApi, *domains: str) -> None:
    for domain in domains:
        api.administrator.put(f"/v1/policy/domains/{domain}").raise_for_status()


def test_a_connector_is_created_changed_listed_audited_and_deleted(api: AdminApi) -> None:
    _declare(api, "contoso.com", "litware.com")
    document = {"domains": ["litware.com", "Contoso.com", "contoso.com"], "gateway_for": ["*"]}
    created = api.administrator.put(EDGE, json=document)
    edge = {"name": "edge", "domains": ["contoso.com", "litware.com"], "gateway_for": ["*"], "version": 4}
    assert (created.status_code, created.json(), created.headers["ETag"]) == (201, edge, api.etag(4))
    assert api.operator.get(EDGE).json() == edge
    assert api.operator.get("/v1/policy/connectors").json() == {"connectors": [edge]}
    assert api.administrator.get("/v1/policy").json()["connectors"] == [edge]
    assert api.administrator.put(EDGE, json=document).headers["ETag"] == api.etag(4), "nothing changed"
    stale = api.administrator.put(EDGE, json={"domains": []}, headers={"If-Match": '"3"'})
    assert stale.status_code == 412
    changed = api.administrator.put(EDGE, json={"domains": ["contoso.com"], "gateway_for": ["fabrikam.de"]})
    assert (changed.status_code, changed.json()["version"]) == (200, 5)
    assert api.administrator.delete(EDGE).status_code == 204
    assert api.administrator.get(EDGE).status_code == 404
    deleted, put, _ = api.audit()[:3]
    assert (deleted["action"], deleted["target"], put["action"]) == (
        "policy.connector.delete",
        "edge",
        "policy.connector.put",
    )
    assert (put["before"]["gateway_for"], put["after"]["gateway_for"]) == (["*"], ["fabrikam.de"])


def test_front_ends_are_told_whom_each_may_speak_for(api: AdminApi) -> None:
    _declare(api, "contoso.com")
    api.administrator.put(EDGE, json={"domains": ["contoso.com"], "gateway_for": ["*"]}).raise_for_status()
    header, _ = fetch(api)
    [edge] = header.connectors
    assert (edge.name, *edge.domains, *edge.gateway_for) == ("edge", "contoso.com", "*")


def test_a_connector_speaks_for_domains_that_are_ours_and_these_stay_ours(api: AdminApi) -> None:
    undeclared = api.administrator.put(EDGE, json={"domains": ["contoso.com"]})
    assert (undeclared.status_code, undeclared.json()["field"]) == (422, "/domains")
    assert "PUT /v1/policy/domains/contoso.com first" in undeclared.json()["detail"]
    _declare(api, "contoso.com")
    api.administrator.put(EDGE, json={"domains": ["contoso.com"]}).raise_for_status()
    kept = api.administrator.delete("/v1/policy/domains/contoso.com")
    assert (kept.status_code, api.version) == (409, 3)
    assert "edge speaks for contoso.com" in kept.json()["detail"]
    api.administrator.put(EDGE, json={"domains": []}).raise_for_status()
    assert api.administrator.delete("/v1/policy/domains/contoso.com").status_code == 204


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("edge", {}),
        ("edge", {"domains": "contoso.com"}),
        ("edge", {"domains": ["no domain"]}),
        ("edge", {"domains": ["*"]}),
        ("edge", {"domains": [], "gateway_for": ["**"]}),
        ("edge", {"domains": [], "hash": "sha256:…"}),
        ("a:b", {"domains": []}),
        ("x" * 65, {"domains": []}),
    ],
)
def test_what_no_connector_can_be_is_refused(
    idle_api: AdminApi, name: str, document: dict[str, object]
) -> None:
    answer = idle_api.administrator.put(f"/v1/policy/connectors/{name}", json=document)
    assert answer.status_code == 422
