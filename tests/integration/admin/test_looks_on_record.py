"""Whoever reads what tells of people leaves a record: on every route, or there is a reason."""

from typing import Any, Final

import httpx

from tests.integration.admin.conftest import AdminApi, make_im
from tests.integration.admin.test_access import ALLOWED, PLACES
from tests.integration.admin.test_parked import park

_SETTINGS: Final = "how policy is set, for no person"
_SYSTEMS: Final = "of chat systems and front ends, not of people"
UNRECORDED: Final = {
    "/v1/policy": _SETTINGS,
    "/v1/policy/global/{scope}": _SETTINGS,
    "/v1/policy/pools": _SETTINGS,
    "/v1/policy/pools/{name}": _SETTINGS,
    "/v1/policy/domains": _SETTINGS,
    "/v1/policy/domains/{domain}": _SETTINGS,
    "/v1/policy/disclaimer": _SETTINGS,
    "/v1/policy/cdr": _SETTINGS,
    "/v1/policy/connectors": _SYSTEMS,
    "/v1/policy/connectors/{name}": _SYSTEMS,
    "/v1/front-ends": _SYSTEMS,
    "/v1/completeness": "numbers of archiving agents, not of people",
    "/v1/policy/snapshot": "for front ends alone: a record of each fetch would hide the others",
}


def _required(operation: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that an operation needs, as its documentation has them."""
    return {
        each["name"]: each["schema"].get("examples", each.get("examples"))[0]
        for each in operation.get("parameters", ())
        if each["in"] == "query" and each["required"]
    }


def test_every_read_that_tells_of_people_is_on_record_with_its_reader(api: AdminApi) -> None:
    im = make_im()
    api.store([im])
    park(api, b"one")
    [(parked,)] = api.database.rows("SELECT id FROM archive.parked")
    line = '{"address":"yannis@contoso.com","archive_internal":true}\n'
    headers = {"Content-Type": "application/x-ndjson"}
    api.administrator.patch("/v1/policy/users", content=line, headers=headers).raise_for_status()
    [(bulk,)] = api.database.rows("SELECT max(id) FROM policy.audit")
    numbers = {"messages": im.id, "parked": parked, "audit": bulk}
    operations = api.anybody.get("/openapi.json").json()["paths"]
    for path in (path for method, path in ALLOWED if method == "GET"):
        for role in sorted(ALLOWED["GET", path]):
            client: httpx.Client = getattr(api, role)
            url = path.format(**PLACES | {"id": numbers.get(path.split("/")[2])})
            [(before,)] = api.database.rows("SELECT max(id) FROM policy.audit")
            answer = client.get(url, params=_required(operations[path]["get"]))
            records = api.database.rows(
                f"SELECT actor, role FROM policy.audit WHERE id > {before}"  # noqa: S608 - a number
            )
            if path in UNRECORDED:
                assert records == [], path
            else:
                assert answer.is_success, (path, answer.text)
                assert records == [(f"the {role}", role)], path


def test_a_look_at_somebody_without_flags_is_on_record(api: AdminApi) -> None:
    assert api.operator.get("/v1/policy/users/Nobody@contoso.com").status_code == 404
    [record, *_] = api.compliance.get("/v1/audit", params={"target": "nobody@contoso.com"}).json()["records"]
    assert (record["actor"], record["action"]) == ("the operator", "users.read")


def test_a_change_of_a_user_that_changes_nothing_is_a_look_on_record(api: AdminApi) -> None:
    path = "/v1/policy/users/ann@contoso.com"
    flags = {"archive_internal": True, "archive_federated": False}
    api.administrator.put(path, json=flags).raise_for_status()
    tries: list[tuple[int, str, str, dict[str, Any]]] = [
        (200, "PUT", path, {"json": flags}),
        (412, "PUT", path, {"json": flags, "headers": {"If-None-Match": "*"}}),
        (412, "PUT", path, {"json": flags, "headers": {"If-Match": '"1"'}}),
        (412, "DELETE", path, {"headers": {"If-Match": '"1"'}}),
        (404, "DELETE", "/v1/policy/users/bob@contoso.com", {}),
        (
            200,
            "PATCH",
            "/v1/policy/users",
            {
                "content": '{"address":"ann@contoso.com","archive_internal":true}',
                "headers": {"Content-Type": "application/x-ndjson"},
            },
        ),
    ]
    version = api.version
    for status, method, url, request in tries:
        [(before,)] = api.database.rows("SELECT max(id) FROM policy.audit")
        answer = api.administrator.request(method, url, **request)
        assert answer.status_code == status
        [(actor, action, request_id)] = api.database.rows(
            f"SELECT actor, action, request FROM policy.audit WHERE id > {before}"  # noqa: S608 - a number
        )
        assert (actor, action) == ("the administrator", "users.read")
        assert str(request_id) == answer.headers["X-Request-ID"]
    assert api.version == version
