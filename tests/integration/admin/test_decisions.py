"""Decisions: the same rules as the front ends', explained."""

from typing import Any

import pytest

from contract.policy import RULES
from tests.integration.admin.conftest import AdminApi

ANNA, BOB, CLEO = (f"sip:{name}" for name in ("anna@contoso.com", "bob@contoso.com", "cleo@litware.com"))


def decide(api: AdminApi, sender: str, *recipients: str, **parameters: str) -> dict[str, Any]:
    asked = {"sender": sender, "recipient": recipients, **parameters}
    answer: dict[str, Any] = api.operator.get("/v1/policy/decision", params=asked).raise_for_status().json()
    assert answer["explanation"] == RULES[answer["rule"]]
    return answer


def test_a_decision_names_rule_scope_version_and_participants(api: AdminApi) -> None:
    api.administrator.put("/v1/policy/domains/contoso.com")
    api.administrator.put("/v1/policy/global/internal", json={"archive": "per_user"})
    flags = {"archive_internal": True, "archive_federated": False}
    api.administrator.put(f"/v1/policy/users/{BOB}", json=flags)
    assert decide(api, "Anna@contoso.com", BOB) == {
        "archive": True,
        "rule": "internal-user",
        "explanation": RULES["internal-user"],
        "scope": "internal",
        "version": 4,
        "participants": [
            {"address": ANNA, "local": True, "archive_internal": False, "archive_federated": False},
            {"address": BOB, "local": True, **flags},
        ],
    }
    assert decide(api, ANNA, ANNA)["rule"] == "internal-no-user"
    federated = decide(api, BOB, CLEO)
    assert (federated["archive"], federated["rule"], federated["scope"]) == (
        True,
        "federated-everyone",
        "federated",
    )
    assert [participant["local"] for participant in federated["participants"]] == [True, False]


def test_pool_and_content_type_count(api: AdminApi) -> None:
    settings = {"archive": False, "critical": False, "archive_all_group": False}
    api.administrator.put("/v1/policy/pools/pool1", json=settings)
    assert decide(api, ANNA, BOB, pool="pool1")["rule"] == "pool-off"
    assert decide(api, ANNA, BOB, pool="pool2")["rule"] == "federated-everyone"
    assert decide(api, ANNA, BOB, media="true")["rule"] == "media-never"
    api.administrator.put(
        "/v1/policy/pools/pool1", json=settings | {"archive": True, "archive_all_group": True}
    )
    api.administrator.put("/v1/policy/global/federated", json={"archive": "none"})
    assert decide(api, ANNA, BOB, pool="pool1")["rule"] == "federated-none"
    assert decide(api, ANNA, BOB, CLEO, pool="pool1")["rule"] == "pool-group"


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"recipient": BOB}, "sender"),
        ({"sender": ANNA}, "recipient"),
        ({"sender": "anna", "recipient": BOB}, "sender"),
        ({"sender": ANNA, "recipient": [BOB, "tel:1"]}, "recipient"),
        ({"sender": ANNA, "recipient": BOB, "pool": "\0"}, "pool"),
        ({"sender": ANNA, "recipient": BOB, "media": "perhaps"}, "media"),
    ],
)
def test_what_is_wrong_with_a_question_is_named(idle_api: AdminApi, parameters: Any, field: str) -> None:
    answer = idle_api.operator.get("/v1/policy/decision", params=parameters)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
