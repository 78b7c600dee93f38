"""Names that earlier front ends gave to people and conversations, and their canonical names."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import psycopg

from contract.address import address_of
from contract.conversation import group_key, pair_key

_AT_A_TIME: Final = 10_000
_TOGETHER: Final = """
SELECT c.name, array_agg(u.name)
FROM archive.conversations AS c
JOIN archive.participants AS p ON p.conversation_id = c.id JOIN archive.users AS u ON u.id = p.user_id
WHERE (c.name LIKE 'p2p:%' OR c.name LIKE 'group:%') AND c.id IN (
    SELECT q.conversation_id FROM archive.users AS s JOIN archive.participants AS q ON q.user_id = s.id
    WHERE s.same_as IS NOT NULL)
GROUP BY c.id
"""

_PARTIES: Final = """
WITH RECURSIVE people AS (
    (SELECT address FROM cdr.parties ORDER BY address LIMIT 1)
    UNION ALL
    SELECT (SELECT p.address FROM cdr.parties AS p WHERE p.address > o.address ORDER BY p.address LIMIT 1)
    FROM people AS o WHERE o.address IS NOT NULL)
SELECT address FROM people WHERE address IS NOT NULL
"""
"""Each once, from one to the next in the index."""
_RENAME: Final = (
    "UPDATE cdr.parties AS p SET address = %(address)s WHERE p.address = %(name)s AND NOT EXISTS ("
    " SELECT FROM cdr.parties AS q WHERE q.session_id = p.session_id AND q.address = %(address)s)",
    "UPDATE cdr.parties AS p SET sent = p.sent + q.sent, client = coalesce(p.client, q.client),"
    " attempts = cdr.add_counts(p.attempts, q.attempts)"
    " FROM cdr.parties AS q"
    " WHERE q.address = %(name)s AND p.session_id = q.session_id AND p.address = %(address)s",
    "DELETE FROM cdr.parties WHERE address = %(name)s",
    "UPDATE cdr.sessions AS s SET caller = %(address)s FROM cdr.parties AS p"
    " WHERE p.address = %(address)s AND s.id = p.session_id AND s.caller = %(name)s",
)
"""Give a person with two names in a session one row."""


def key_of(conversation: str, people: Iterable[str]) -> str:
    """Return a conversation's present key, if its key was made of the names of its participants."""
    names = set(people)
    addresses = {address_of(name) for name in names}
    if conversation == pair_key(names) or (conversation == group_key(names) and len(addresses) <= 2):
        return pair_key(addresses)
    return group_key(addresses) if conversation == group_key(names) else conversation


def note_spellings(connection: psycopg.Connection, kind: str, names: Iterable[tuple[str, str]]) -> None:
    """Store which names of ``users`` or ``conversations`` are spellings of which others."""
    pairs = [pair for pair in names if pair[0] != pair[1]]
    if pairs:
        spelled, canonical = map(list, zip(*pairs, strict=True))
        connection.execute(
            "SELECT archive.note_spellings(%s, %s::text[], %s::text[])", [kind, spelled, canonical]
        )


def note_all_spellings(connection: psycopg.Connection) -> None:
    """Store the spellings of all names in the archive, some thousands at a time, in the caller's transaction.

    They follow the present ``contract.address``, by which the front ends of this version name people.
    """
    for people in _read(connection, "SELECT name FROM archive.users"):
        note_spellings(connection, "users", [(name, address_of(name)) for (name,) in people])
    for talks in _read(connection, _TOGETHER):
        note_spellings(connection, "conversations", [(key, key_of(key, people)) for key, people in talks])


def rename_parties(connection: psycopg.Connection) -> None:
    """Rename people in call detail records to their canonical addresses, and add up their counts."""
    for people in _read(connection, _PARTIES):
        for (name,) in people:
            if (address := address_of(name)) != name:
                for statement in _RENAME:
                    connection.execute(statement, {"name": name, "address": address})


def _read(connection: psycopg.Connection, query: str) -> Iterator[list[tuple[Any, ...]]]:
    with connection.cursor(name="spellings") as cursor:
        cursor.execute(query.encode())
        while rows := cursor.fetchmany(_AT_A_TIME):
            yield rows
