"""Users' flags: one by one, listed, and many at once."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ArchiveDatabase
from tests.integration.admin.conftest import AdminApi, running_api

FLAGS = {"archive_internal": True, "archive_federated": False}
NDJSON = {"Content-Type": "application/x-ndjson"}
CSV = {"Content-Type": "text/csv; charset=utf-8"}


def lines(*documents: dict[str, Any]) -> str:
    return "".join(json.dumps(document) + "\n" for document in documents)


def users(api: AdminApi) -> dict[str, tuple[bool, bool, int]]:
    listed = api.operator.get("/v1/policy/users", params={"limit": 1000}).raise_for_status().json()["users"]
    return {u["address"]: (u["archive_internal"], u["archive_federated"], u["version"]) for u in listed}


def test_a_user_is_put_read_and_deleted(api: AdminApi) -> None:
    path = "/v1/policy/users/Yannis@Contoso.com"
    unknown = api.administrator.get(path)
    assert (unknown.status_code, unknown.json()["field"]) == (404, "address")
    created = api.administrator.put(path, json=FLAGS)
    assert created.json() == {"address": "sip:yannis@contoso.com", "version": 2, **FLAGS}
    assert (created.status_code, created.headers["ETag"]) == (201, api.etag(2))
    assert api.administrator.put("/v1/policy/users/sip:yannis@contoso.com", json=FLAGS).status_code == 200
    assert api.operator.get("/v1/policy/users/sips:YANNIS@contoso.com").json() == created.json()
    assert api.administrator.delete(path, headers={"If-Match": '"1"'}).status_code == 412
    assert api.administrator.delete(path).status_code == 204
    assert api.administrator.get(path).status_code == 404
    assert api.administrator.delete(path).status_code == 404
    again = api.administrator.put(path, json=FLAGS, headers={"If-None-Match": "*"})
    assert (again.status_code, again.headers["ETag"]) == (201, api.etag(4))
    assert [record["action"] for record in api.audit()] == [
        "policy.user.put",
        "policy.user.delete",
        "policy.user.put",
    ]


@pytest.mark.parametrize(
    "address", ["a/b", "a%2Fb", "a%25b", "o'brien", "%CE%B3%CE%B9%CE%AC%CE%BD%CE%BD%CE%B7%CF%82", "a+b"]
)
def test_any_user_part_can_stand_in_the_path(api: AdminApi, address: str) -> None:
    created = api.administrator.put(f"/v1/policy/users/sip:{address}@contoso.com", json=FLAGS)
    assert created.status_code == 201
    assert list(users(api)) == [created.json()["address"]]


@pytest.mark.parametrize(
    ("address", "document", "field"),
    [
        ("yannis", FLAGS, "address"),
        ("tel:+30210", FLAGS, "address"),
        ("a%00b@contoso.com", FLAGS, "address"),
        ("a" * 500 + "@contoso.com", FLAGS, "address"),
        ("yannis@contoso.com", {"archive_internal": True}, "/archive_federated"),
        ("yannis@contoso.com", FLAGS | {"archive_internal": 1}, "/archive_internal"),
    ],
)
def test_what_is_wrong_with_a_user_is_named(
    idle_api: AdminApi, address: str, document: object, field: str
) -> None:
    answer = idle_api.administrator.put(f"/v1/policy/users/{address}", json=document)
    assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_listing_pages_by_address_and_is_stable_under_inserts(api: AdminApi) -> None:
    def add(*names: str) -> None:
        body = lines(*({"address": f"{name}@contoso.com", **FLAGS} for name in names))
        api.administrator.patch("/v1/policy/users", content=body, headers=NDJSON).raise_for_status()

    add(*"bdfhj")
    seen: list[str] = []
    after: str | None = None
    while True:
        parameters = {"limit": "2"} | ({} if after is None else {"after": after})
        page = api.administrator.get("/v1/policy/users", params=parameters).json()
        seen += [user["address"] for user in page["users"]]
        after = page["next"]
        if after is None:
            break
        add("a", "z")  # one before, one behind where we are
    assert seen == [f"sip:{name}@contoso.com" for name in "bdfhjz"]


def test_search_finds_what_is_contained_and_takes_no_wildcards(api: AdminApi) -> None:
    body = lines(*({"address": f"{name}@contoso.com", **FLAGS} for name in ("a_b", "axb", "a%b", "ann")))
    api.administrator.patch("/v1/policy/users", content=body, headers=NDJSON).raise_for_status()

    def search(text: str) -> list[str]:
        found = api.administrator.get("/v1/policy/users", params={"search": text}).raise_for_status()
        return [user["address"] for user in found.json()["users"]]

    assert search("A_B") == ["sip:a_b@contoso.com"]
    assert search("a%b") == ["sip:a%25b@contoso.com"]
    assert len(search("CONTOSO")) == 4
    assert search("nobody") == []


def test_search_finds_any_spelling(api: AdminApi) -> None:
    jose, ann = "sip:jos\u00e9@contoso.com", "sip:ann@xn--bro-hoa.example"
    body = lines(*({"address": address, **FLAGS} for address in (jose, ann, "sip:d'art@contoso.com")))
    api.administrator.patch("/v1/policy/users", content=body, headers=NDJSON).raise_for_status()
    for text, address in {
        "JOSE\u0301": jose,
        "os\u00e9@CONTOSO": jose,
        "B\u00dcRO.example": ann,
        "nn@b\u00fcro.example.": ann,
        "sip:ann": ann,
        "bro-hoa": ann,
    }.items():
        found = api.administrator.get("/v1/policy/users", params={"search": text}).raise_for_status()
        assert [user["address"] for user in found.json()["users"]] == [address], text


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"search": "\0"}, "search"),
        ({"after": "\0"}, "after"),
        ({"search": "x" * 1001}, "search"),
    ],
)
def test_a_listing_s_parameters_are_checked(
    idle_api: AdminApi, parameters: dict[str, str], field: str
) -> None:
    answer = idle_api.administrator.get("/v1/policy/users", params=parameters)
    assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_a_bulk_change_is_one_version_one_record_that_unfolds(api: AdminApi) -> None:
    api.administrator.put("/v1/policy/users/old@contoso.com", json=FLAGS)
    api.administrator.put("/v1/policy/users/same@contoso.com", json=FLAGS)
    body = lines(
        {"address": "new@contoso.com", "archive_federated": True},
        {"address": "OLD@contoso.com", "archive_internal": False, "archive_federated": True},
        {"address": "same@contoso.com", **FLAGS},
    )
    answer = api.administrator.patch("/v1/policy/users", content=body, headers=NDJSON)
    assert answer.json() == {"version": 4, "lines": 3, "changed": 2}
    assert users(api) == {
        "sip:new@contoso.com": (False, True, 4),
        "sip:old@contoso.com": (False, True, 4),
        "sip:same@contoso.com": (True, False, 3),
    }
    newest, *others = api.audit()
    assert (newest["action"], newest["version"], len(others)) == ("policy.users.patch", 4, 2)
    assert (newest["actor"], newest["role"]) == ("the administrator", "administrator")
    assert (newest["detail"]["lines"], newest["detail"]["changed"]) == (3, 2)
    after = {"archive_internal": False, "archive_federated": True}
    path = f"/v1/audit/{newest['id']}/changes"
    new = {"address": "sip:new@contoso.com", "before": None, "after": after}
    old = {"address": "sip:old@contoso.com", "before": FLAGS, "after": after}
    assert api.compliance.get(path).json() == {"changes": [new, old], "next": None}
    first = api.administrator.get(path, params={"limit": "1"}).json()
    assert first == {"changes": [new], "next": new["address"]}
    rest = api.administrator.get(path, params={"after": first["next"]}).json()
    assert rest == {"changes": [old], "next": None}
    assert api.compliance.get(path, params={"user": "OLD@contoso.com"}).json() == {
        "changes": [old],
        "next": None,
    }
    assert api.compliance.get(path, params={"user": "odd@contoso.com"}).json()["unknown"] == [
        "sip:odd@contoso.com"
    ]
    assert api.audit(target="Old@contoso.com")[0]["id"] == newest["id"]
    assert [record["action"] for record in api.audit(target="sip:same@contoso.com")] == ["policy.user.put"]
    alone = api.compliance.get(f"/v1/audit/{others[0]['id']}/changes")
    assert (alone.status_code, alone.json()["field"]) == (404, "id")
    again = api.administrator.patch("/v1/policy/users", content=body, headers=NDJSON)
    assert again.json() == {"version": 4, "lines": 3, "changed": 0}
    assert len([record for record in api.audit() if record["action"].startswith("policy.")]) == 3


def test_a_flag_that_a_line_leaves_out_stays(api: AdminApi) -> None:
    api.administrator.put("/v1/policy/users/a@contoso.com", json=FLAGS)
    csv = "archive_federated,address,archive_internal\r\nTRUE,a@contoso.com,\r\n0,b@contoso.com,1\r\n"
    api.administrator.patch("/v1/policy/users", content="\ufeff" + csv, headers=CSV).raise_for_status()
    assert users(api) == {"sip:a@contoso.com": (True, True, 3), "sip:b@contoso.com": (True, False, 3)}


@pytest.mark.parametrize(("true", "false"), [("TRUE", "FALSE"), ("WAHR", "FALSCH"), ("VRAI", "faux")])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_table_is_read_as_spreadsheets_write_it(
    api: AdminApi, true: str, false: str, separator: str, encoding: str
) -> None:
    rows = [
        ["address", "archive_internal", "archive_federated"],
        ["a@contoso.com", true, false],
        ["b@contoso.com", "", true],
        ["", "", ""],
    ]
    table = "".join(separator.join(row) + "\r\n" for row in rows)
    answer = api.administrator.patch("/v1/policy/users", content=table.encode(encoding), headers=CSV)
    assert answer.raise_for_status().json() == {"version": 2, "lines": 2, "changed": 2}
    assert users(api) == {"sip:a@contoso.com": (True, False, 2), "sip:b@contoso.com": (False, True, 2)}


@pytest.mark.parametrize(
    ("content", "line", "seen"),
    [
        (b"address;archive_internal\na@x.y;ja\n", 2, "archive_internal is 'ja'"),
        (b"Adresse;intern\na@x.y;WAHR\n", 1, "it is 'Adresse;intern'"),
        (b"address|archive_internal\na@x.y|WAHR\n", 1, "address|archive_internal"),
        ("address,archive_internal\na@x.y,true\nJ\xfcrgen@x.y,true\n".encode("cp1252"), 3, "fc at 2 of it"),
        (b"\xff\xfea\0d", 1, "UTF-16"),
    ],
)
def test_a_table_that_cannot_be_read_is_told_where_and_what_was_seen(
    idle_api: AdminApi, content: bytes, line: int, seen: str
) -> None:
    answer = idle_api.administrator.patch("/v1/policy/users", content=content, headers=CSV)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["line"] == line
    assert seen in error["detail"]


def test_a_deleted_user_comes_back_by_a_bulk_change(api: AdminApi) -> None:
    api.administrator.put("/v1/policy/users/a@contoso.com", json=FLAGS)
    api.administrator.delete("/v1/policy/users/a@contoso.com")
    body = lines({"address": "a@contoso.com", "archive_internal": False})
    assert api.administrator.patch("/v1/policy/users", content=body, headers=NDJSON).json()["changed"] == 1
    assert users(api) == {"sip:a@contoso.com": (False, False, 4)}
    [brought_back, *_] = api.audit(target="sip:a@contoso.com")
    [change] = api.compliance.get(f"/v1/audit/{brought_back['id']}/changes").json()["changes"]
    assert (change["before"], brought_back["version"]) == (None, 4)


@pytest.mark.parametrize(
    ("content", "headers", "wrong"),
    [
        ('{"address":"a@x.y","archive_internal":true}\n\n{"address":"b"}\n{}\n[]\nno', NDJSON, [3, 4, 5, 6]),
        ('{"address":"a@x.y","archive_internal":1}\n', NDJSON, [1]),
        ('{"address":"a@x.y","archive":true}\n', NDJSON, [1]),
        ('{"address":"\\ud800@x.y","archive_internal":true}\n', NDJSON, [1]),
        ('{"address":"\\u0000@x.y","archive_internal":true}\n', NDJSON, [1]),
        (b'{"address":"\xff@x.y","archive_internal":true}\n', NDJSON, [1]),
        ('{"address":"a@x.y","archive_internal":true,"address":"b@x.y"}\n', NDJSON, [1]),
        (b"x" * 20_000, NDJSON, [1]),
        ("address,archive_internal\na@x.y,maybe\nb@x.y\nc@x.y,true\nc,true\n", CSV, [2, 3, 5]),
        ("name,flag\na@x.y,true\n", CSV, [1]),
        ("", CSV, [1]),
        (b"address,archive_internal\na@x.y,true\n\xff@x.y,true\n", CSV, [3]),
        ('address,archive_internal\n"a@x.y"b,true\n', CSV, [2]),
        (
            '{"address":"a@x.y","archive_internal":true}\n{"address":"b@x.y"}\n'
            '{"address":"sip:A@x.y","archive_internal":false}\n',
            NDJSON,
            [1],
        ),
    ],
)  # fmt: skip
def test_if_any_line_is_wrong_nothing_is_changed_and_each_is_named(
    idle_api: AdminApi, content: str | bytes, headers: dict[str, str], wrong: list[int]
) -> None:
    answer = idle_api.administrator.patch("/v1/policy/users", content=content, headers=headers)
    assert answer.status_code == 422
    assert [error["line"] for error in answer.json()["errors"]] == wrong
    assert (users(idle_api), idle_api.version) == ({}, 1)


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        ('{"address":"a@x.y","archive_internal":true}\n', NDJSON),
        ("address,archive_internal\na@x.y,true\n", CSV),
    ],
)
def test_a_byte_order_mark_is_no_part_of_the_first_line(
    api: AdminApi, content: str, headers: dict[str, str]
) -> None:
    answer = api.administrator.patch("/v1/policy/users", content="\ufeff" + content, headers=headers)
    assert answer.json() == {"version": 2, "lines": 1, "changed": 1}


def test_the_lines_named_are_bounded(idle_api: AdminApi) -> None:
    answer = idle_api.administrator.patch("/v1/policy/users", content="x\n" * 5000, headers=NDJSON)
    assert len(answer.json()["errors"]) == 100


def test_the_same_line_twice_is_no_contradiction(api: AdminApi) -> None:
    body = lines({"address": "a@x.y", **FLAGS}, {"address": "A@x.y", **FLAGS})
    answer = api.administrator.patch("/v1/policy/users", content=body, headers=NDJSON)
    assert answer.json() == {"version": 2, "lines": 2, "changed": 1}
    assert len(api.audit(target="sip:a@x.y")) == 1


def test_a_bulk_change_honours_if_match_on_the_whole_policy(api: AdminApi) -> None:
    body = lines({"address": "a@x.y", **FLAGS})
    current = api.administrator.get("/v1/policy").headers["ETag"]
    for etag, status in (('"1"', 412), (current, 200)):
        headers = NDJSON | {"If-Match": etag}
        assert (
            api.administrator.patch("/v1/policy/users", content=body, headers=headers).status_code == status
        )


def test_a_bulk_change_of_another_type_is_refused(idle_api: AdminApi) -> None:
    answer = idle_api.administrator.patch("/v1/policy/users", json=[])
    assert answer.status_code == 415
    assert answer.headers["Accept-Patch"] == "application/x-ndjson, text/csv"


def test_a_bulk_change_that_is_too_large_is_refused(database: ArchiveDatabase, tmp_path: Path) -> None:
    with running_api(database, tmp_path, bulk_bytes=1000) as api:
        answer = api.administrator.patch("/v1/policy/users", content=b" " * 1001, headers=NDJSON)
        assert answer.status_code == 413
        assert (
            api.administrator.patch("/v1/policy/users", content=b"\n" * 1000, headers=NDJSON).status_code
            == 200
        )


def test_300_000_users_change_within_seconds(api: AdminApi) -> None:
    body = b"".join(
        b'{"address":"sip:user%d@contoso.com","archive_internal":true,"archive_federated":false}\n' % number
        for number in range(300_000)
    )
    started = time.monotonic()
    answer = api.administrator.patch("/v1/policy/users", content=body, headers=NDJSON)
    took = time.monotonic() - started
    assert answer.json() == {"version": 2, "lines": 300_000, "changed": 300_000}
    assert took < 30, f"{took:.1f} s"  # about 7 s on two idle cores
    snapshot = api.frontend.get("/v1/policy/snapshot").text.splitlines()
    assert len(snapshot) == 300_001
    assert api.database.rows("SELECT count(*) FROM policy.audit") == [(1,)]
    [record] = api.audit(target="sip:user299999@contoso.com")
    unfolded = api.compliance.get(
        f"/v1/audit/{record['id']}/changes", params={"user": "sip:user299999@contoso.com"}
    )
    assert unfolded.json()["changes"] == [
        {"address": "sip:user299999@contoso.com", "before": None, "after": FLAGS}
    ]
