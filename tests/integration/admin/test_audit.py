"""The audit trail: paged, filtered, seen by those who may, and unchangeable."""

import itertools
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg import errors

from admin_api.audit.queries import AuditSearch, query_of
from tests.integration.admin.conftest import AdminApi, make_im


def test_an_administrator_sees_changes_of_policy_only(api: AdminApi) -> None:
    api.administrator.put("/v1/policy/domains/contoso.com")
    api.compliance.get("/v1/messages")
    assert [record["action"] for record in api.audit()] == ["archive.search", "policy.domain.put"]
    seen = api.administrator.get("/v1/audit").json()["records"]
    assert [record["action"] for record in seen] == ["policy.domain.put"]
    asked = api.administrator.get("/v1/audit", params={"action": "archive.search"}).json()
    assert asked == {"records": [], "next": None, "unknown": ["archive.search"]}


def test_records_are_paged_newest_first_and_stable(api: AdminApi) -> None:
    for number in range(5):
        api.administrator.put(f"/v1/policy/domains/d{number}.example")
    targets: list[str] = []
    parameters = {"limit": "2"}
    while True:
        page = api.compliance.get("/v1/audit", params=parameters).json()
        targets += [record["target"] for record in page["records"]]
        if page["next"] is None:
            break
        parameters["after"] = str(page["next"])
        api.administrator.put(f"/v1/policy/domains/later{page['next']}.example")
    assert targets == [f"d{number}.example" for number in (4, 3, 2, 1, 0)]


def test_records_are_found_by_actor_action_and_target(api: AdminApi) -> None:
    api.administrator.put("/v1/policy/domains/contoso.com")
    api.administrator.put("/v1/policy/domains/litware.com")
    api.compliance.get("/v1/messages")
    assert len(api.audit(actor="the administrator")) == 2
    assert len(api.audit(action="archive.search")) == 1
    (record,) = api.audit(target="litware.com", actor="the administrator", action="policy.domain.put")
    assert record["version"] == 3
    assert api.audit(actor="nobody") == []


def test_a_look_at_the_trail_is_one_record_of_it(api: AdminApi) -> None:
    api.administrator.put("/v1/policy/domains/contoso.com")
    api.compliance.get("/v1/audit", params={"target": "contoso.com", "from": "2026-01-31T08:00:00Z"})
    [look, change] = api.compliance.get("/v1/audit").json()["records"]
    assert (look["action"], look["actor"]) == ("audit.read", "the compliance")
    asked = {"target": "contoso.com", "from": "2026-01-31T08:00:00Z", "limit": 100}
    assert look["detail"] == {"parameters": asked, "count": 1}
    assert change["action"] == "policy.domain.put"


def test_looks_at_lists_of_users_and_of_parked_ims_are_records(
    api: AdminApi,
) -> None:
    api.operator.get("/v1/policy/users", params={"search": "yannis"})
    api.operator.get("/v1/parked", params={"state": "discarded"})
    parked, users = api.compliance.get("/v1/audit").json()["records"]
    assert (parked["action"], users["action"]) == ("archive.parked.list", "users.list")
    assert parked["actor"] == users["actor"] == "the operator"
    assert parked["detail"] == {"parameters": {"state": "discarded", "limit": 100}, "count": 0}
    assert users["detail"] == {"parameters": {"search": "yannis", "limit": 100}, "count": 0}


def test_a_change_that_weakens_policy_is_recorded_as_such_and_logged_by_name(
    api: AdminApi, caplog: pytest.LogCaptureFixture
) -> None:
    api.administrator.put("/v1/policy/domains/contoso.com")
    ann = {"archive_internal": True, "archive_federated": True}
    api.administrator.put("/v1/policy/users/ann@contoso.com", json=ann)
    api.administrator.put("/v1/policy/global/internal", json={"archive": "per_user"})
    body = '{"address":"ann@contoso.com","archive_internal":false}\n'
    headers = {"Content-Type": "application/x-ndjson"}
    api.administrator.patch("/v1/policy/users", content=body, headers=headers)
    api.administrator.put("/v1/policy/global/internal", json={"archive": "everyone"})
    api.administrator.delete("/v1/policy/users/ann@contoso.com")
    gateway = {"domains": ["contoso.com"], "gateway_for": ["*"]}
    api.administrator.put("/v1/policy/connectors/edge", json=gateway)
    weakened = ["policy.global.put", "policy.users.patch", "policy.connector.put"]
    assert [record["action"] for record in reversed(api.audit(weakened="true"))] == weakened
    logged = [record.__dict__ for record in caplog.records if record.message == "policy weakened"]
    assert [line["action"] for line in logged] == weakened
    assert {(line["name"], line["caller"]) for line in logged} == {("security", "the administrator")}


def test_what_weakened_policy_is_told_by_the_trail_whatever_process_did_it(api: AdminApi) -> None:
    api.execute(
        "INSERT INTO policy.audit (at, actor, role, action, target, version, weakened)"
        " SELECT now() - age, 'ada', 'administrator', 'policy.global.put', 'internal', version, weakened"
        " FROM (VALUES (interval '61 minutes', 7, true), (interval '59 minutes', 8, true),"
        " (interval '1 minute', 9, false)) AS v (age, version, weakened)"
    )
    api.wait_for_metric('lcs_policy_weakened{version="8"} 1.0')
    told = [each for each in api.anybody.get("/metrics").text.splitlines() if "lcs_policy_weakened{" in each]
    assert told == ['lcs_policy_weakened{version=""} 0.0', 'lcs_policy_weakened{version="8"} 1.0']


def test_a_record_names_the_request_that_made_it_and_from_where(api: AdminApi) -> None:
    change = api.administrator.put("/v1/policy/domains/contoso.com")
    look = api.compliance.get("/v1/messages")
    assert [record["request"] for record in api.audit()] == [
        look.headers["X-Request-ID"],
        change.headers["X-Request-ID"],
    ]
    assert {record["client"] for record in api.audit()} == {"127.0.0.1"}


def test_records_are_found_by_time_and_version(api: AdminApi) -> None:
    for name in "abc":
        api.administrator.put(f"/v1/policy/domains/{name}.example")
    third, second, first = api.audit()
    assert api.audit(**{"from": second["at"]}) == [third, second]
    assert api.audit(to=second["at"]) == [first]
    assert api.audit(**{"from": first["at"], "to": third["at"], "version": "3"}) == [second]


@pytest.fixture(scope="module")
def long_trail(idle_api: AdminApi) -> AdminApi:
    """A trail of many records and bulk changes, a second apart."""
    idle_api.execute(
        "INSERT INTO policy.audit (at, actor, role, action, target, version)"
        " SELECT timestamptz '2020-01-01' + n * interval '1 second', 'o' || n % 7, 'compliance',"
        "  CASE WHEN n % 100 = 0 THEN 'policy.user.put' ELSE 'archive.read' END, n::text,"
        "  CASE WHEN n % 100 = 0 THEN n END FROM generate_series(1, 20000) AS n;"
        " INSERT INTO policy.audit_users (audit_id, part, addresses, before, after)"
        " SELECT n, 0, array_agg('sip:u' || n * 50 + m || '@contoso.com'), array_agg(0), array_agg(1)"
        " FROM generate_series(1, 400) AS n, generate_series(1, 50) AS m GROUP BY n;"
        " ANALYZE policy.audit; ANALYZE policy.audit_users"
    )
    return idle_api


FILTERS: dict[str, Any] = {
    "actor": "nobody",
    "action": "policy.user.put",
    "target": "sip:ceo@contoso.com",
    "version": 7,
    "weakened": True,
    "from": "2020-01-01T01:00:00Z",
    "to": "2020-01-01T01:00:10Z",
}


@pytest.mark.parametrize("policy_only", [False, True])
@pytest.mark.parametrize("below", [None, (datetime(2020, 1, 1, 0, 30, tzinfo=UTC), 1800)])
@pytest.mark.parametrize("count", [0, 1, 2, 6])
def test_whatever_is_asked_of_the_trail_is_served_by_an_index(
    long_trail: AdminApi, policy_only: bool, below: Any, count: int
) -> None:
    for names in itertools.combinations(FILTERS, count):
        asked = AuditSearch(**{name: FILTERS[name] for name in names})
        query = query_of(asked, policy_only=policy_only, below=below)
        plan = long_trail.plan_of(lambda _: query)  # noqa: B023 - it is called at once
        assert "Seq Scan" not in plan, (names, plan)
        assert "on audit" in plan
        if count == 0:
            assert "Sort" not in plan, (names, plan)


@pytest.mark.parametrize(
    ("asked", "policy_only", "index"),
    [
        (AuditSearch(weakened=True), False, "audit_weakened"),
        (AuditSearch(weakened=True), True, "audit_weakened"),
        (AuditSearch(action="archive.read"), True, "One-Time Filter: false"),
    ],
    ids=str,
)
def test_what_is_rare_is_found_without_looking_through_the_rest(
    long_trail: AdminApi, asked: AuditSearch, policy_only: bool, index: str
) -> None:
    plan = long_trail.plan_of(lambda _: query_of(asked, policy_only=policy_only))
    assert index in plan


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"after": "0"}, "after"),
        ({"after": str(1 << 63)}, "after"),
        ({"limit": "1001"}, "limit"),
        ({"actor": "\0"}, "actor"),
        ({"after": "7000000"}, "after"),
        ({"from": "2026"}, "from"),
        ({"subject": "sip:a@b.c"}, "subject"),
    ],
)
def test_what_is_wrong_with_a_question_is_named(
    idle_api: AdminApi, parameters: dict[str, str], field: str
) -> None:
    answer = idle_api.compliance.get("/v1/audit", params=parameters)
    assert (answer.status_code, answer.json()["field"]) == (422, field)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE policy.audit SET actor = 'nobody'",
        "DELETE FROM policy.audit",
        "TRUNCATE policy.audit",
        "INSERT INTO policy.audit (id, actor, role, action, target) VALUES (7, 'a', 'b', 'c', 'd')",
        "INSERT INTO policy.audit (at, actor, role, action, target) VALUES (now(), 'a', 'b', 'c', 'd')",
        "UPDATE policy.audit_users SET addresses = '{}'",
        "DELETE FROM policy.audit_users",
        "DELETE FROM policy.users",
        "DELETE FROM policy.disclaimers_sent",
        "UPDATE policy.disclaimers_sent SET wording = ''",
        "DROP TABLE policy.users",
        "SELECT * FROM archive.messages",
        "DELETE FROM archive.messages",
        "UPDATE archive.archived_messages SET body = ''",
        "INSERT INTO archive.users (name) VALUES ('a')",
        "SELECT archive.intern('users', ARRAY['a'])",
        "SELECT archive.log_messages(0, '{}', '{}', '{}')",
        "CREATE TABLE policy.more ()",
    ],
)
def test_the_service_s_own_role_can_neither_change_the_trail_nor_the_archive(
    api: AdminApi, statement: str
) -> None:
    api.store([make_im()])
    api.administrator.put("/v1/policy/domains/contoso.com")
    with psycopg.connect(api.database.url("lcs_admin")) as connection:
        refused = (errors.InsufficientPrivilege, errors.GeneratedAlways, errors.ObjectNotInPrerequisiteState)
        with pytest.raises(refused):
            connection.execute(statement.encode())
