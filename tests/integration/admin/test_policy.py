"""Global settings, pools and domains: versions, preconditions, audit."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import httpx
import pytest

from tests.integration.admin.conftest import AdminApi

POOL = {"archive": True, "critical": True, "archive_all_group": False}


def test_a_fresh_policy_archives_everything(api: AdminApi) -> None:
    answer = api.administrator.get("/v1/policy")
    assert answer.json() == {
        "version": 1,
        "internal": "everyone",
        "federated": "everyone",
        "domains": [],
        "connectors": [],
        "pools": [],
        "disclaimer": {"enabled": False, "language": "en", "wordings": {}, "partners": {}, "version": 1},
        "cdr": {"enabled": True, "version": 1},
    }
    assert answer.headers["ETag"] == api.etag(1)


def test_a_global_setting_is_put_and_read(api: AdminApi) -> None:
    put = api.administrator.put("/v1/policy/global/internal", json={"archive": "per_user"})
    assert (put.status_code, put.headers["ETag"]) == (200, api.etag(2))
    assert put.json() == {"scope": "internal", "archive": "per_user", "version": 2}
    got = api.operator.get("/v1/policy/global/internal")
    assert (got.json(), got.headers["ETag"]) == (put.json(), api.etag(2))
    assert api.operator.get("/v1/policy/global/federated").json()["version"] == 1
    assert api.version == 2


def test_a_pool_is_created_changed_listed_and_deleted(api: AdminApi) -> None:
    path = "/v1/policy/pools/pool1.contoso.com"
    assert api.administrator.get(path).status_code == 404
    created = api.administrator.put(path, json=POOL)
    assert (created.status_code, created.json()) == (201, {"name": "pool1.contoso.com", "version": 2, **POOL})
    changed = api.administrator.put(path, json=POOL | {"archive": False})
    assert (changed.status_code, changed.headers["ETag"]) == (200, api.etag(3))
    assert api.operator.get("/v1/policy/pools").json() == {"pools": [changed.json()]}
    assert api.administrator.get("/v1/policy").json()["pools"] == [changed.json()]
    assert api.administrator.delete(path).status_code == 204
    assert api.administrator.get(path).status_code == 404
    assert api.administrator.delete(path).status_code == 404
    assert api.version == 4


def test_a_domain_is_kept_in_lower_case(api: AdminApi) -> None:
    created = api.administrator.put("/v1/policy/domains/Contoso.COM", json={})
    assert (created.status_code, created.json()) == (201, {"domain": "contoso.com", "version": 2})
    assert api.administrator.put("/v1/policy/domains/contoso.com").status_code == 200
    assert api.administrator.get("/v1/policy/domains").json() == {"domains": [created.json()]}
    assert api.administrator.get("/v1/policy").json()["domains"] == ["contoso.com"]
    assert api.administrator.delete("/v1/policy/domains/CONTOSO.com").status_code == 204
    assert api.administrator.get("/v1/policy/domains/contoso.com").status_code == 404


def test_a_put_that_changes_nothing_makes_no_version_and_no_audit_record(api: AdminApi) -> None:
    for _ in range(2):
        answer = api.administrator.put("/v1/policy/pools/pool1", json=POOL)
        assert answer.headers["ETag"] == api.etag(2)
    assert answer.status_code == 200
    assert (
        api.administrator.put("/v1/policy/global/internal", json={"archive": "everyone"}).status_code == 200
    )
    assert api.version == 2
    assert len(api.audit()) == 1


def test_each_change_is_audited_with_what_was_before_and_after(api: AdminApi) -> None:
    api.administrator.put("/v1/policy/global/federated", json={"archive": "none"})
    api.administrator.put("/v1/policy/pools/pool1", json=POOL)
    api.administrator.delete("/v1/policy/pools/pool1")
    deleted, created, changed = api.audit()
    assert (changed["action"], changed["target"]) == ("policy.global.put", "federated")
    assert (changed["before"], changed["after"]) == ({"archive": "everyone"}, {"archive": "none"})
    assert (changed["actor"], changed["role"], changed["version"]) == (
        "the administrator",
        "administrator",
        2,
    )
    assert (created["action"], created["before"], created["after"]) == ("policy.pool.put", None, POOL)
    assert (deleted["action"], deleted["before"], deleted["after"]) == ("policy.pool.delete", POOL, None)


def test_if_match_lets_only_those_change_who_know_what_is_there(api: AdminApi) -> None:
    path = "/v1/policy/pools/pool1"
    missing = api.administrator.put(path, json=POOL, headers={"If-Match": "*"})
    assert (missing.status_code, missing.json()["field"]) == (412, "If-Match")
    etag = api.administrator.put(path, json=POOL, headers={"If-None-Match": "*"}).headers["ETag"]
    again = api.administrator.put(path, json=POOL, headers={"If-None-Match": "*"})
    assert (again.status_code, again.json()["field"]) == (412, "If-None-Match")
    for condition, status in (('"1"', 412), (f"W/{etag}", 412), (f'"1", {etag}', 200), ("*", 200)):
        answer = api.administrator.put(path, json=POOL, headers={"If-Match": condition})
        assert answer.status_code == status, condition
    changed = api.administrator.put(path, json=POOL | {"critical": False}, headers={"If-Match": etag})
    assert changed.status_code == 200
    stale = api.administrator.delete(path, headers={"If-Match": etag})
    assert (stale.status_code, stale.headers["ETag"]) == (412, changed.headers["ETag"])
    assert api.administrator.delete(path, headers={"If-Match": stale.headers["ETag"]}).status_code == 204


def test_a_precondition_that_is_no_etag_is_refused(idle_api: AdminApi) -> None:
    answer = idle_api.administrator.put("/v1/policy/pools/pool1", json=POOL, headers={"If-Match": "17"})
    assert (answer.status_code, answer.json()["field"]) == (422, "If-Match")


def test_what_a_pool_lets_past_the_archive_is_said_where_it_is_something(api: AdminApi) -> None:
    path = "/v1/policy/pools/pool1"
    allowed = POOL | {"unseen_media": ["msrp", "file"]}
    assert api.administrator.put(path, json=allowed).json() == allowed | {"name": "pool1", "version": 2}
    assert api.administrator.get(path).json()["unseen_media"] == ["msrp", "file"]
    api.administrator.put(path, json=POOL).raise_for_status()
    assert "unseen_media" not in api.administrator.get(path).json()


def test_of_many_who_change_the_same_at_once_with_if_match_one_wins(api: AdminApi) -> None:
    etag = api.administrator.put("/v1/policy/pools/pool1", json=POOL).headers["ETag"]

    def change(number: int) -> int:
        document = {"archive": bool(number & 1), "critical": bool(number & 2), "archive_all_group": True}
        return api.administrator.put(
            "/v1/policy/pools/pool1", json=document, headers={"If-Match": etag}
        ).status_code

    with ThreadPoolExecutor(8) as threads:
        statuses = sorted(threads.map(change, range(8)))
    assert statuses == [200] + [412] * 7
    assert api.version == 3


def test_changes_at_once_take_versions_without_a_gap(api: AdminApi) -> None:
    def change(number: int) -> httpx.Response:
        return api.administrator.put(f"/v1/policy/domains/d{number}.example")

    with ThreadPoolExecutor(8) as threads:
        versions = sorted(answer.json()["version"] for answer in threads.map(change, range(24)))
    assert versions == list(range(2, 26))
    audited = [record["version"] for record in api.audit()]
    assert all(newer == older + 1 for newer, older in pairwise(audited))


@pytest.mark.parametrize(
    ("path", "document", "field"),
    [
        ("global/internal", {"archive": "all"}, "/archive"),
        ("global/internal", {}, "/archive"),
        ("global/internal", {"archive": "none", "also": 1}, "/also"),
        ("global/nowhere", {"archive": "none"}, "scope"),
        ("pools/pool1", {"archive": True, "critical": True}, "/archive_all_group"),
        ("pools/pool1", POOL | {"critical": "yes"}, "/critical"),
        ("pools/pool1", POOL | {"unseen_media": ["smoke signals"]}, "/unseen_media/0"),
        ("pools/po%00ol", POOL, "name"),
        ("domains/contoso.com:5061", {}, "domain"),
        ("domains/b%E2%80%8Bro.example", {}, "domain"),
        ("domains/a%00b", {}, "domain"),
        ("domains/yannis@contoso.com", {}, "domain"),
    ],
)
def test_what_is_wrong_is_named(idle_api: AdminApi, path: str, document: object, field: str) -> None:
    answer = idle_api.administrator.put(f"/v1/policy/{path}", json=document)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert idle_api.version == 1
