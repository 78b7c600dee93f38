"""All secrets of a stack, made once: passwords of broker and database, tokens of people and services.

Runs in the local stack and, as a script without any package installed, as the first container of the
Compose file. What was made before is kept; addresses are written anew, for hosts and ports may change.
In lists (who may use the API, connectors, SIP users, what the broker declares) an entry of ours is written
anew by its name; one that a person added stays, and one of ours that a person took out stays out.
"""

import argparse
import base64
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template
from typing import Any, Final

POOL: Final = "pool1"
FRONT_END_USER: Final = f"frontend~{POOL}"
"""The broker's user that the pool's front ends share, as where they are scaled: its name says the pool, and
workers take nothing of it that names another (``contract.broker_users``)."""
_SERVICES: Final = {"frontend": FRONT_END_USER, "archiving": "archiving", "admin-api": "admin-api"}
_OPERATOR: Final = "operator"
"""The broker's users are those of the services, and this one for its management page."""
_DATABASE_ROLES: Final = {"migrations": "lcs_owner", "archiving": "lcs_archiving", "admin-api": "lcs_admin"}
_PEOPLE: Final = ("administrator", "compliance", "operator")
DOMAINS: Final = "contoso.com,litware.com"
"""Domains of the connectors, unless ``LCS_CONNECTOR_DOMAINS`` names others."""
_CONNECTORS: Final = {"connector": (), "edge": ("*",), "prosody": ("*",)}
"""And the foreign domains that each is a gateway for: a server that verifies its partners is."""
_SIP_USERS: Final = ("yannis@contoso.com", "administrator@contoso.com", "ada@contoso.com")
"""People that may log in to the SIP edge; their passwords are in ``people/sip-yannis`` and the like."""
_HERE: Final = Path(__file__).parent


def make_credentials(
    folder: Path,
    *,
    amqp: str = "rabbitmq:5672",
    database: str = "postgres:5432",
    front_ends: Sequence[str] = (),
) -> None:
    """Write every consumer's secrets to a folder of its own below ``folder``.

    ``amqp`` and ``database``: host and port of broker and database as the services reach them; of a cluster
    of brokers all, separated by commas. ``front_ends``: those that have a user of their own at the broker.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # below it a consumer, whoever it runs as, may read what it is given
    known = folder / "kept" / "secrets.json"
    kept: dict[str, str] = _load(known, {})

    def secret(name: str) -> str:
        return kept.setdefault(name, secrets.token_urlsafe(32))

    files: dict[str, str] = {}
    record = folder / "kept" / "made.json"
    made: dict[str, list[str]] = _load(record, {})

    def merged(name: str, entries: list[dict[str, Any]]) -> str:
        return json.dumps(_merge(_load(folder / name, None), entries, made, name), indent=2)

    users = _SERVICES | {f"front-end-{name}": f"{FRONT_END_USER}~{name}" for name in front_ends}
    for consumer, user in users.items():
        files[f"{consumer}/lcs_amqp_url"] = f"amqp://{user}:{secret(f'broker {user}')}@{amqp}/lcs"
    files["rabbitmq/cookie"] = secret("broker cookie")
    files["people/rabbitmq-operator"] = secret("broker operator")
    for consumer, role in _DATABASE_ROLES.items():
        files[f"{consumer}/lcs_database_url"] = (
            f"postgresql://{role}:{secret(f'database {role}')}@{database}/lcslog"
        )
    files["postgres/password"] = secret("database postgres")
    files["grafana/password"] = files["people/grafana"] = secret("grafana admin")
    roles = Template((_HERE / "postgres" / "roles.sql").read_text())
    files["postgres/roles.sql"] = roles.substitute(
        {role: secret(f"database {role}") for role in _DATABASE_ROLES.values()}
    )
    for person in (*_PEOPLE, "connector", "prosody"):
        files[f"people/{person}"] = secret(f"token {person}")
    files["frontend/lcs_admin_api_token"] = secret("token frontend")
    principals = [_principal(role, secret(f"token {role}")) for role in (*_PEOPLE, "frontend")]
    files["admin-api/principals.json"] = merged("admin-api/principals.json", principals)
    files["edge/token"] = secret("token edge")
    connectors = [
        _connector(name, secret(f"token {name}"), gateway_for) for name, gateway_for in _CONNECTORS.items()
    ]
    files["frontend/connectors.json"] = merged("frontend/connectors.json", connectors)
    for address in _SIP_USERS:
        files[f"people/sip-{address.partition('@')[0]}"] = secret(f"sip {address}")
    sip_users = [_sip_user(address, secret(f"sip {address}")) for address in _SIP_USERS]
    files["edge/users.json"] = merged("edge/users.json", sip_users)
    definitions = _definitions({user: secret(f"broker {user}") for user in (*users.values(), _OPERATOR)})
    name = "rabbitmq/definitions.json"
    before: dict[str, Any] = _load(folder / name, {})
    for kind, entries in definitions.items():
        if isinstance(entries, list):
            definitions[kind] = _merge(before.get(kind), entries, made, f"{name} {kind}")
    files[name] = json.dumps(before | definitions, indent=2)

    _write(known, json.dumps(kept))
    known.chmod(0o400)
    for name, text in files.items():
        _write(folder / name, text)
    _write(record, json.dumps(made))


def _load(path: Path, default: Any) -> Any:
    """Return the document of a file. Ends the program if a person left it as no JSON."""
    try:
        return json.loads(path.read_text()) if path.exists() else default
    except ValueError as error:
        raise SystemExit(f"{path} is no JSON ({error}): mend it, or remove it to have it made anew") from None


def _merge(
    before: list[dict[str, Any]] | None, ours: list[dict[str, Any]], made: dict[str, list[str]], name: str
) -> list[dict[str, Any]]:
    """Return our entries and a person's; ``made[name]``, names that were ever ours, is kept up to date."""
    known = set(made.get(name, ()))
    entries = {_key(entry): entry for entry in ours}
    made[name] = sorted(known | entries.keys())
    if before is None:
        return ours
    there = {_key(entry): entry for entry in before}
    merged = {
        key: entries.get(key, entry) for key, entry in there.items() if key in entries or key not in known
    }
    return [*merged.values(), *(entry for key, entry in entries.items() if key not in known | there.keys())]


def _key(entry: dict[str, Any]) -> str:
    """Return the key of an entry; the broker's bindings and rights have more than a name."""
    parts = ("name", "address", "user", "vhost", "source", "destination", "routing_key")
    return " ".join(str(entry[part]) for part in parts if part in entry)


def _principal(role: str, token: str) -> dict[str, Any]:
    return {"name": role, "hash": _hash(token), "roles": [role]}


def _sip_user(address: str, password: str) -> dict[str, str]:
    """Return the hash of a password that an edge keeps (RFC 7616, 3.4.2, with MD5 as SIP clients know it)."""
    user, _, domain = address.partition("@")
    ha1 = hashlib.md5(f"{user}:{domain}:{password}".encode()).hexdigest()  # noqa: S324 - see above
    return {"address": address, "ha1": ha1}


def _connector(name: str, token: str, gateway_for: Sequence[str]) -> dict[str, Any]:
    """Return a connector's entry. Its rights count until policy names it."""
    domains = os.environ.get("LCS_CONNECTOR_DOMAINS", DOMAINS).lower().replace(" ", "").split(",")
    return {
        "name": name,
        "hash": _hash(token),
        "pool": POOL,
        "domains": domains,
        "gateway_for": gateway_for,
    }


def _hash(token: str) -> str:
    """As ``runtime.token.hash_token``, which can't be imported where no package is installed."""
    return "sha256:" + hashlib.sha256(token.encode()).hexdigest()


def _definitions(passwords: dict[str, str]) -> dict[str, Any]:
    definitions = read_definitions(passwords)
    definitions["users"] = [
        {
            "name": user,
            "password_hash": _broker_hash(password),
            "hashing_algorithm": "rabbit_password_hashing_sha256",
            "tags": "administrator" if user == _OPERATOR else "",
        }
        for user, password in passwords.items()
    ]
    return definitions


def read_definitions(users: Iterable[str]) -> dict[str, Any]:
    """Return the broker's definitions, with the rights of users: all front ends' users have the same."""
    definitions: dict[str, Any] = json.loads((_HERE / "rabbitmq" / "definitions.json").read_text())
    rights = {entry["user"]: entry for entry in definitions["permissions"]}
    definitions["permissions"] = [rights[user.partition("~")[0]] | {"user": user} for user in users]
    return definitions


def _broker_hash(password: str) -> str:
    """RabbitMQ documentation, "Credentials and Passwords": base64 of salt + SHA-256 of salt + password."""
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.chmod(0o444)
    new.replace(path)


def main() -> None:
    """Make the credentials in the folder named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--amqp",
        default=os.environ.get("LCS_AMQP_HOSTS", "rabbitmq:5672"),
        help="host:port of the broker, or of each of its nodes: a:5672,b:5672",
    )
    parser.add_argument("--database", default="postgres:5432", help="host:port of the database")
    arguments = parser.parse_args()
    make_credentials(arguments.folder, amqp=arguments.amqp, database=arguments.database)


if __name__ == "__main__":
    main()
