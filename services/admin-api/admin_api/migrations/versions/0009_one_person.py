"""One person is one address: users, domains and notices of before come by their canonical names."""

from collections.abc import Iterator
from typing import Any, Final

import psycopg
from alembic import op
from psycopg.types.json import Jsonb

from contract.address import AddressError, parse_address
from contract.conversation import pair_key
from contract.domain import respell_domain
from contract.policy import ANY_DOMAIN

revision = "0009"
down_revision = "0008"

_ACTOR: Final = "migration"
_AT_A_TIME: Final = 10_000
_MOST_NAMED: Final = 100
# Several names become one user with the flags of all. The other names go as if they had been deleted.
_MERGE: Final = (
    "ANALYZE respelled",
    """
    CREATE TEMPORARY TABLE merged ON COMMIT DROP AS
    SELECT r.address, bool_or(u.archive_internal) AS archive_internal,
           bool_or(u.archive_federated) AS archive_federated, bool_and(u.deleted) AS deleted,
           jsonb_object_agg(u.address, jsonb_build_object('archive_internal', u.archive_internal,
                            'archive_federated', u.archive_federated)) FILTER (WHERE NOT u.deleted) AS before
    FROM (SELECT name, address FROM respelled UNION SELECT address, address FROM respelled) AS r
    JOIN policy.users AS u ON u.address = r.name GROUP BY r.address
    """,
    """
    INSERT INTO policy.users (address, archive_internal, archive_federated, deleted, version)
    SELECT address, archive_internal, archive_federated, deleted, %(version)s FROM merged
    ON CONFLICT (address) DO UPDATE
    SET archive_internal = excluded.archive_internal, archive_federated = excluded.archive_federated,
        deleted = excluded.deleted, version = excluded.version
    """,
    """
    UPDATE policy.users AS u
    SET archive_internal = false, archive_federated = false, deleted = true, version = %(version)s
    FROM respelled AS r WHERE u.address = r.name
    """,
    """
    INSERT INTO policy.audit (actor, role, action, target, before, after, version)
    SELECT %(actor)s, %(actor)s, 'policy.user.merge', address, before,
           jsonb_build_object('archive_internal', archive_internal, 'archive_federated', archive_federated),
           %(version)s
    FROM merged WHERE NOT deleted ORDER BY address
    """,
)
_DROP_NOTICE: Final = """
WITH dropped AS (DELETE FROM policy.disclaimers_sent WHERE id = %s RETURNING *)
INSERT INTO policy.audit (actor, role, action, target, before)
SELECT %s, %s, 'disclaimer.merge', partner, to_jsonb(dropped) - 'id' FROM dropped
"""


def upgrade() -> None:
    """Merge who becomes one, in one version of policy. What is no address any more stays as it is.

    By today's ``parse_address``: what counts is what the front ends of this version call somebody.
    """
    connection: psycopg.Connection | None = op.get_bind().connection.driver_connection
    assert connection is not None
    found = connection.execute("SELECT version + 1 FROM policy.version FOR UPDATE").fetchone()
    assert found is not None
    (version,) = found
    changes = (_merge_users, _rename_domains, _rename_in_connectors, _rename_partners)
    if True in [change(connection, version) for change in changes]:
        connection.execute("UPDATE policy.version SET version = %s", [version])
    _rename_notices(connection)


def _merge_users(connection: psycopg.Connection, version: int) -> bool:
    left: list[str] = []
    connection.execute(
        'CREATE TEMPORARY TABLE respelled (name text COLLATE "C" PRIMARY KEY, address text COLLATE "C")'
        " ON COMMIT DROP"
    )
    for rows in _read(connection, "SELECT address, deleted FROM policy.users"):
        addresses = {name: _address_of(name) for name, _ in rows}
        left += [name for name, deleted in rows if not deleted and addresses[name] is None]
        respelled = [pair for pair in addresses.items() if pair[1] not in (None, pair[0])]
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO respelled VALUES (%s, %s)", respelled)
    if left:  # they have flags that count for nobody
        detail = {"count": len(left), "addresses": left[:_MOST_NAMED]}
        _audit(connection, "policy.users.unreadable", "users", detail=detail)
    if connection.execute("SELECT FROM respelled LIMIT 1").fetchone() is None:
        return False
    for statement in _MERGE:
        connection.execute(statement.encode(), {"version": version, "actor": _ACTOR})
    return True


def _rename_domains(connection: psycopg.Connection, version: int) -> bool:
    renamed = False
    for (domain,) in connection.execute("SELECT domain FROM policy.domains").fetchall():
        if (canonical := _domain_of(domain)) != domain:
            connection.execute("DELETE FROM policy.domains WHERE domain = %s", [domain])
            connection.execute(
                "INSERT INTO policy.domains VALUES (%s, %s) ON CONFLICT DO NOTHING", [canonical, version]
            )
            _audit(connection, "policy.domain.rename", domain, after={"domain": canonical}, version=version)
            renamed = True
    return renamed


def _rename_in_connectors(connection: psycopg.Connection, version: int) -> bool:
    renamed = False
    for name, *lists in connection.execute("SELECT name, domains, gateway_for FROM policy.connectors"):
        fresh = [sorted(set(map(_domain_of, domains))) for domains in lists]
        if fresh != [sorted(domains) for domains in lists]:
            connection.execute(
                "UPDATE policy.connectors SET domains = %s, gateway_for = %s, version = %s WHERE name = %s",
                [*fresh, version, name],
            )
            renamed = True
    return renamed


def _rename_partners(connection: psycopg.Connection, version: int) -> bool:
    renamed = False
    for (partners,) in connection.execute("SELECT partners FROM policy.disclaimer").fetchall():
        fresh = {_domain_of(domain): language for domain, language in sorted(partners.items())}
        if fresh != partners:
            connection.execute(
                "UPDATE policy.disclaimer SET partners = %s, version = %s", [Jsonb(fresh), version]
            )
            renamed = True
    return renamed


def _rename_notices(connection: psycopg.Connection) -> None:
    """Have partners who were told be known as told, by their canonical addresses."""
    for rows in _read(connection, "SELECT id, conversation, partner, im FROM policy.disclaimers_sent"):
        for number, conversation, partner, im in rows:
            fresh = _key_of(conversation), _address_of(partner) or partner
            if fresh == (conversation, partner):
                continue
            known = connection.execute(
                "SELECT FROM policy.disclaimers_sent WHERE (conversation, partner, im) = (%s, %s, %s)",
                [*fresh, im],
            ).fetchone()
            if known is not None:
                connection.execute(_DROP_NOTICE, [number, _ACTOR, _ACTOR])
            else:
                connection.execute(
                    "UPDATE policy.disclaimers_sent SET conversation = %s, partner = %s WHERE id = %s",
                    [*fresh, number],
                )


def _address_of(name: str) -> str | None:
    try:
        return parse_address(name)
    except AddressError:
        return None


def _domain_of(name: str) -> str:
    return name if name == ANY_DOMAIN else respell_domain(name)


def _key_of(conversation: str) -> str:
    """Return the key of two people as it is made today; of a group it can't be told."""
    first, bar, second = conversation.removeprefix("p2p:").rpartition("|sip:")
    people = (first, f"sip:{second}")
    if not bar or conversation != pair_key(people):
        return conversation
    return pair_key([_address_of(name) or name for name in people])


def _audit(connection: psycopg.Connection, action: str, target: str, **fields: Any) -> None:
    values = {name: Jsonb(value) if isinstance(value, dict) else value for name, value in fields.items()}
    names = ", ".join(["actor", "role", "action", "target", *values])
    places = ", ".join(["%s"] * (len(values) + 4))
    connection.execute(
        f"INSERT INTO policy.audit ({names}) VALUES ({places})".encode(),  # noqa: S608 - names of our own
        [_ACTOR, _ACTOR, action, target, *values.values()],
    )


def _read(connection: psycopg.Connection, query: str) -> Iterator[list[tuple[Any, ...]]]:
    with connection.cursor(name="names") as cursor:
        cursor.execute(query.encode())
        while rows := cursor.fetchmany(_AT_A_TIME):
            yield rows
