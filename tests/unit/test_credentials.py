"""Secrets are made once, agree with each other and with what the services read."""

import base64
import hashlib
import json
import stat
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from deploy.credentials import make_credentials
from runtime.token import Connector, Principal, hash_token


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_credentials(tmp_path / "secrets")
    return tmp_path / "secrets"


def _read(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_person_s_token_opens_the_admin_api_in_the_role_of_its_name(folder: Path) -> None:
    principals = msgspec.json.decode(
        (folder / "admin-api/principals.json").read_bytes(), type=list[Principal]
    )
    roles = {principal.hash: principal.roles for principal in principals}
    for person in ("administrator", "compliance", "operator"):
        assert roles[hash_token((folder / "people" / person).read_text())] == {person}
    assert roles[hash_token((folder / "frontend/lcs_admin_api_token").read_text())] == {"frontend"}


def test_the_connector_s_token_speaks_for_the_domains_that_were_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LCS_CONNECTOR_DOMAINS", "Fabrikam.com, tailspin.example")
    make_credentials(tmp_path)
    connectors = msgspec.json.decode(
        (tmp_path / "frontend/connectors.json").read_bytes(), type=list[Connector]
    )
    assert all(each.domains == {"fabrikam.com", "tailspin.example"} for each in connectors)
    assert {each.name: each.gateway_for for each in connectors} == {
        "connector": frozenset(),
        "edge": {"*"},
        "prosody": {"*"},
    }
    assert {each.name: each.hash for each in connectors} == {
        "prosody": hash_token((tmp_path / "people/prosody").read_text()),
        "connector": hash_token((tmp_path / "people/connector").read_text()),
        "edge": hash_token((tmp_path / "edge/token").read_text()),
    }


def test_what_the_edge_keeps_of_a_password_is_its_hash(folder: Path) -> None:
    users = {user["address"]: user["ha1"] for user in json.loads((folder / "edge/users.json").read_text())}
    secret = f"yannis:contoso.com:{(folder / 'people/sip-yannis').read_text()}"
    assert users["yannis@contoso.com"] == hashlib.md5(secret.encode()).hexdigest()  # noqa: S324 - RFC 7616


def test_the_broker_s_hashes_are_of_the_passwords_in_the_services_addresses(folder: Path) -> None:
    users = {
        user["name"]: user for user in json.loads((folder / "rabbitmq/definitions.json").read_text())["users"]
    }
    passwords = {
        user: urlsplit((folder / consumer / "lcs_amqp_url").read_text()).password or ""
        for consumer, user in (
            ("frontend", "frontend~pool1"),
            ("archiving", "archiving"),
            ("admin-api", "admin-api"),
        )
    } | {"operator": (folder / "people/rabbitmq-operator").read_text()}
    assert users.keys() == passwords.keys()
    for name, password in passwords.items():
        hashed = base64.b64decode(users[name]["password_hash"])
        assert hashed[4:] == hashlib.sha256(hashed[:4] + password.encode()).digest()
    assert [name for name, user in users.items() if user["tags"]] == ["operator"]


def test_a_second_run_keeps_every_secret_and_writes_addresses_anew(folder: Path) -> None:
    before = _read(folder)
    make_credentials(folder, amqp="127.0.0.1:1", database="127.0.0.1:2")
    after = _read(folder)
    del before["rabbitmq/definitions.json"], after["rabbitmq/definitions.json"]  # salted anew
    renamed = {
        name: text.replace("rabbitmq:5672", "127.0.0.1:1").replace("postgres:5432", "127.0.0.1:2")
        for name, text in before.items()
    }
    assert after == renamed != before


def test_no_secret_is_used_twice_and_no_consumer_is_given_another_s(folder: Path) -> None:
    kept = json.loads((folder / "kept/secrets.json").read_text())
    assert len(set(kept.values())) == len(kept)
    given = {
        consumer: {
            name
            for name, secret in kept.items()
            for text in _read(folder / consumer).values()
            if secret in text
        }
        for consumer in ("frontend", "archiving", "admin-api", "migrations", "rabbitmq", "grafana")
    }
    assert given == {
        "frontend": {"broker frontend~pool1", "token frontend"},
        "archiving": {"broker archiving", "database lcs_archiving"},
        "admin-api": {"broker admin-api", "database lcs_admin"},
        "migrations": {"database lcs_owner"},
        "rabbitmq": {"broker cookie"},
        "grafana": {"grafana admin"},
    }


_BY_HAND = (
    "admin-api/principals.json",
    "frontend/connectors.json",
    "edge/users.json",
    "rabbitmq/definitions.json",
)


def _entries(folder: Path, name: str) -> list[dict[str, object]]:
    found = json.loads((folder / name).read_text())
    entries: list[dict[str, object]] = found["users"] if isinstance(found, dict) else found
    return entries


def _change(folder: Path, name: str, entries: list[dict[str, object]]) -> None:
    path = folder / name
    found = json.loads(path.read_text())
    path.chmod(0o600)
    path.write_text(json.dumps(found | {"users": entries} if isinstance(found, dict) else entries))


def _names(entries: list[dict[str, object]]) -> list[object]:
    return [entry.get("name", entry.get("address")) for entry in entries]


@pytest.mark.parametrize("name", _BY_HAND)
@pytest.mark.parametrize("out", range(3))
def test_what_a_person_adds_stays_and_what_they_take_out_stays_out(folder: Path, name: str, out: int) -> None:
    ours = _entries(folder, name)
    added: dict[str, object] = {"name": "eve", "address": "eve@contoso.com", "hash": "sha256:00"}
    removed = ours.pop(out)
    _change(folder, name, [added, *ours])
    for _ in range(2):
        make_credentials(folder)
        after = _entries(folder, name)
        assert added in after
        assert sorted(map(str, _names(after))) == sorted(map(str, _names([added, *ours])))
        assert not set(_names([removed])) & set(_names(after))


def test_what_is_ours_is_brought_up_to_date_where_a_person_changed_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "frontend/connectors.json"
    _change(folder, name, [*_entries(folder, name), {"name": "eve", "domains": ["fabrikam.com"]}])
    monkeypatch.setenv("LCS_CONNECTOR_DOMAINS", "tailspin.example")
    make_credentials(folder)
    domains = {str(entry["name"]): entry["domains"] for entry in _entries(folder, name)}
    assert domains.pop("eve") == ["fabrikam.com"]
    assert list(domains.values()) == [["tailspin.example"]] * 3


def test_a_broker_s_user_of_a_front_end_that_is_no_more_is_not_declared(tmp_path: Path) -> None:
    make_credentials(tmp_path, front_ends=["fe1", "fe2"])
    make_credentials(tmp_path, front_ends=["fe1"])
    users = set(_names(_entries(tmp_path, "rabbitmq/definitions.json")))
    assert "frontend~pool1~fe1" in users
    assert "frontend~pool1~fe2" not in users


def test_a_file_that_a_person_broke_is_named_and_left_as_it_is(folder: Path) -> None:
    path = folder / "admin-api/principals.json"
    path.chmod(0o600)
    path.write_text("[{")
    with pytest.raises(SystemExit, match=r"principals\.json is no JSON"):
        make_credentials(folder)
    assert path.read_text() == "[{"


def test_only_the_owner_can_enter_the_folder(folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
