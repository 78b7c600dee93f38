"""An empty page is no answer about somebody who is known nowhere; several people are all of them."""

from tests.integration.admin.conftest import AdminApi, make_im

ANN, BOB, EVE = "sip:ann@contoso.com", "sip:bob@contoso.com", "sip:eve@contoso.com"


def bodies(api: AdminApi, *users: str) -> list[str]:
    page = api.compliance.get("/v1/messages", params={"user": users}).raise_for_status().json()
    return sorted(message["body"] for message in page["messages"])


def test_who_is_known_nowhere_is_said_to_be_unknown(api: AdminApi) -> None:
    api.store([make_im("hello", sender=ANN, recipients=(BOB,), conversation="talk")])
    flags = {"archive_internal": True, "archive_federated": True}
    api.administrator.put(f"/v1/policy/users/{EVE}", json=flags).raise_for_status()
    for path in ("/v1/messages", "/v1/cdr"):
        for user in ("sip:dr_*@contoso.com", "sip:nobody@contoso.com"):
            assert api.compliance.get(path, params={"user": user}).json()["unknown"] == [user]
            both = api.compliance.get(path, params={"user": [ANN, user]}).json()
            assert both["unknown"] == [user]
        for user in (ANN, BOB, EVE):
            assert "unknown" not in api.compliance.get(path, params={"user": user}).json()
    for path in ("/v1/messages", "/v1/cdr", "/v1/disclaimers"):
        assert api.compliance.get(path, params={"conversation": "none"}).json()["unknown"] == ["none"]
    assert "unknown" not in api.compliance.get("/v1/messages", params={"conversation": "talk"}).json()
    partner = {"partner": "sip:nobody@fabrikam.com"}
    assert api.compliance.get("/v1/disclaimers", params=partner).json()["unknown"] == [partner["partner"]]
    export = api.compliance.get("/v1/cdr/csv", params={"user": [ANN, "sip:nobody@contoso.com"]})
    assert (export.status_code, export.json()["field"]) == (404, "user")


def test_what_no_record_of_the_trail_has_is_said_to_be_unknown(api: AdminApi) -> None:
    flags = {"archive_internal": True, "archive_federated": True}
    api.administrator.put(f"/v1/policy/users/{EVE}", json=flags).raise_for_status()

    def unknown(**asked: str) -> list[str] | None:
        page: dict[str, list[str]] = api.compliance.get("/v1/audit", params=asked).raise_for_status().json()
        return page.get("unknown")

    assert unknown(target=EVE, action="policy.user.put") is None
    assert unknown(target=EVE, to="2020-01-01T00:00:00Z") is None
    assert unknown(target=ANN, action="policy.user.putt") == ["policy.user.putt", ANN]
    assert unknown(actor="mallory") == ["mallory"]
    assert unknown(version="999") == ["999"]


def test_a_pool_that_is_not_there_is_not_complete(api: AdminApi) -> None:
    assert api.operator.get("/v1/completeness", params={"pool": "nowhere"}).status_code == 404
    settings = {"archive": True, "critical": False, "archive_all_group": False}
    api.administrator.put("/v1/policy/pools/new", json=settings).raise_for_status()
    assert api.operator.get("/v1/completeness", params={"pool": "new"}).json()["totals"]["agents"] == 0


def test_several_people_are_all_of_them_and_the_trail_names_each(api: AdminApi) -> None:
    api.store(
        [
            make_im("ann to bob", sender=ANN, recipients=(BOB,), conversation="1"),
            make_im("bob to all", sender=BOB, recipients=(ANN, EVE), conversation="2"),
            make_im("bob to eve", sender=BOB, recipients=(EVE,), conversation="2"),
        ]
    )
    assert bodies(api, ANN, BOB) == ["ann to bob", "bob to all"]
    assert bodies(api, BOB, ANN, EVE) == ["bob to all"]
    assert bodies(api, BOB, BOB) == ["ann to bob", "bob to all", "bob to eve"]
    assert api.audit()[1]["detail"]["parameters"]["user"] == [BOB, ANN, EVE]
