"""A policy of before addresses were canonical: who becomes one has all flags, and front ends learn of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

import admin_api.migrations
from contract.conversation import pair_key
from tests.conftest import ArchiveDatabase
from tests.integration.admin.conftest import AdminApi, running_api

BOB, JOSE, NUMBER = "sip:bob@contoso.com", "sip:jos\u00e9@contoso.com", "sip:+14255550100@contoso.com"
NOBODY = "sip:bo\u200bb@contoso.com"
OLD_USERS = [
    ("sip:jose\u0301@contoso.com", True, False, False),
    (JOSE, False, True, False),
    ("sip:%62ob@contoso.com", True, False, False),
    ("sip:bob;x=y@contoso.com", False, False, True),
    ("sip:+1-425-555-0100@contoso.com", False, True, False),
    ("sip:ann@contoso.com", True, True, False),
    (NOBODY, True, True, False),
]
ANN_OF_FABRIKAM, OLD_ANN = "sip:\u00e4nn@fabrikam.de", "sip:a\u0308nn@fabrikam.de"
IM = uuid4()


@pytest.fixture
def api(database: ArchiveDatabase, tmp_path: Path) -> Iterator[AdminApi]:
    """The admin API of a policy that was filled before it was brought to this version."""
    database.begin_anew(admin_api.migrations, "0008")
    with psycopg.connect(database.url("lcs_owner")) as connection, connection.cursor() as cursor:
        cursor.executemany("INSERT INTO policy.users VALUES (%s, %s, %s, %s, 1)", OLD_USERS)
        cursor.execute("INSERT INTO policy.domains VALUES ('contoso.com', 1), ('[2001:db8:0::1]', 1)")
        cursor.execute(
            "UPDATE policy.disclaimer SET partners = %s, wordings = %s",
            [Jsonb({"[::0:1]": "en", "fabrikam.de": "de"}), Jsonb({"en": "archived", "de": "archiviert"})],
        )
        cursor.executemany(
            "INSERT INTO policy.disclaimers_sent (conversation, partner, im, at, front_end, language,"
            " wording, version) VALUES (%s, %s, %s, now(), 'fe1', 'en', 'archived', 1)",
            [
                (pair_key([OLD_ANN, BOB]), OLD_ANN, IM),
                (pair_key([ANN_OF_FABRIKAM, BOB]), ANN_OF_FABRIKAM, IM),
                ("connector:edge:c1", OLD_ANN, IM),
            ],
        )
    admin_api.migrations.migrate(database.url("lcs_owner"))
    admin_api.migrations.migrate(database.url("lcs_owner"))
    with running_api(database, tmp_path) as running:
        yield running


def _users(api: AdminApi) -> dict[str, tuple[bool, bool]]:
    listed = api.administrator.get("/v1/policy/users").raise_for_status().json()["users"]
    return {each["address"]: (each["archive_internal"], each["archive_federated"]) for each in listed}


def test_who_becomes_one_has_the_flags_of_all(api: AdminApi) -> None:
    assert _users(api) == {
        JOSE: (True, True),
        BOB: (True, False),
        NUMBER: (False, True),
        "sip:ann@contoso.com": (True, True),
        NOBODY: (True, True),
    }
    merged = {record["target"]: record for record in api.audit(action="policy.user.merge")}
    assert set(merged) == {JOSE, BOB, NUMBER}
    assert merged[JOSE]["before"] == {
        "sip:jose\u0301@contoso.com": {"archive_internal": True, "archive_federated": False},
        JOSE: {"archive_internal": False, "archive_federated": True},
    }
    assert merged[JOSE]["after"] == {"archive_internal": True, "archive_federated": True}
    assert merged[JOSE]["version"] == api.version == 2


def test_front_ends_learn_what_changed_and_only_that(api: AdminApi) -> None:
    known = {"since": "1", "stamp": str(api.stamp(1))}
    answer = api.frontend.get("/v1/policy/snapshot", params=known).raise_for_status()
    _, *users = answer.text.splitlines()
    changed: dict[str, Any] = {}
    for line in users:
        address, flags = line.strip("[]").rsplit(",", 1)
        changed[address.strip('"')] = int(flags)
    assert changed == {
        **{name: 0 for name, *_ in OLD_USERS if name not in (JOSE, "sip:ann@contoso.com", NOBODY)},
        JOSE: 3,
        BOB: 1,
        NUMBER: 2,
    }


def test_what_is_no_address_any_more_is_named_and_can_be_deleted(api: AdminApi) -> None:
    [record] = api.audit(action="policy.users.unreadable")
    assert record["detail"] == {"count": 1, "addresses": [NOBODY]}
    assert api.administrator.get(f"/v1/policy/users/{NOBODY}").json()["archive_internal"] is True
    assert api.administrator.delete(f"/v1/policy/users/{NOBODY}").status_code == 204
    assert NOBODY not in _users(api)
    assert api.administrator.put(f"/v1/policy/users/{NOBODY}", json={}).status_code == 422


def test_domains_and_partners_have_their_canonical_names(api: AdminApi) -> None:
    policy = api.administrator.get("/v1/policy").json()
    assert policy["domains"] == ["[2001:db8::1]", "contoso.com"]
    assert policy["disclaimer"]["partners"] == {"[::1]": "en", "fabrikam.de": "de"}


def test_who_was_told_is_known_by_any_spelling(api: AdminApi) -> None:
    found = api.compliance.get("/v1/disclaimers", params={"partner": OLD_ANN}).raise_for_status().json()
    assert {each["conversation"] for each in found["disclaimers"]} == {
        pair_key([ANN_OF_FABRIKAM, BOB]),
        "connector:edge:c1",
    }
    [dropped] = api.audit(action="disclaimer.merge")
    assert dropped["before"]["partner"] in (OLD_ANN, ANN_OF_FABRIKAM)
