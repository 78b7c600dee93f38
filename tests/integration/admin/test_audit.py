"""The audit trail: paged, filtered, seen by those who may, and unchangeable."""

from typing import Any

import psycopg
import pytest
from psycopg import errors

from admin_api.audit import query_of
from tests.integration.admin.conftest import AdminApi, make_im


def test_an_administrator_sees_changes_of_policy_only(api: AdminApi) -> None:
    api.administrator.put("/v1/policy/domains/contoso.com")
    api.compliance.get("/v1/messages")
    assert [record["action"] for record in api.audit()] == ["archive.search", "policy.domain.put"]
    seen = api.administrator.get("/v1/audit").json()["records"]
    assert [record["action"] for record in seen] == ["policy.domain.put"]
    asked = api.administrator.get("/v1/audit", params={"action": "archive.search"}).json()
    assert asked == {"records": [], "next": None}


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


def test_each_filter_of_the_trail_is_served_by_an_index(api: AdminApi) -> None:
    api.execute(
        "INSERT INTO policy.audit (actor, role, action, target)"
        " SELECT 'o' || n % 7, 'compliance', 'archive.read', n::text FROM generate_series(1, 20000) AS n;"
        " ANALYZE policy.audit"
    )
    for index, filters in (
        ("audit_actor", {"actor": "nobody"}),
        ("audit_action", {"action": "policy.user.put"}),
        ("audit_target", {"target": "sip:ceo@contoso.com"}),
        ("audit_policy", {"policy_only": True}),
    ):
        wanted: dict[str, Any] = {"policy_only": False} | filters
        query = query_of(**wanted).limit(101)
        plan = api.plan_of(lambda _: query)  # noqa: B023 - it is called at once
        assert f"using {index} on audit" in plan
        assert "Sort" not in plan


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"after": "0"}, "after"),
        ({"after": str(1 << 63)}, "after"),
        ({"limit": "1001"}, "limit"),
        ({"actor": "\0"}, "actor"),
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
