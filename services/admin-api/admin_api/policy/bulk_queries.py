"""Queries that apply a bulk change of users."""

from collections.abc import Sequence
from typing import IO, Final

from psycopg import Connection, Cursor

from admin_api.policy.bulk_lines import IN_MEMORY, MAX_ERRORS, LinesProblem
from admin_api.policy.changes import Change
from admin_api.policy.weakening import number_of
from admin_api.policy.weighing import Weighing

# Two statements, not one with ON CONFLICT: nobody else writes users meanwhile, and so it takes two thirds of
# the time.
_UPDATE: Final = """
UPDATE policy.users AS u
SET archive_internal = c.archive_internal, archive_federated = c.archive_federated,
    deleted = false, version = %(version)s
FROM changed AS c
WHERE c.address = u.address AND NOT c.is_new
"""
_INSERT: Final = """
INSERT INTO policy.users (address, archive_internal, archive_federated, version)
SELECT address, archive_internal, archive_federated, %(version)s FROM changed WHERE is_new
"""
_PART: Final = 1000
# Beside the change's one record: as flags, a part of the list a row.
_UNFOLD: Final = """
INSERT INTO policy.audit_users (audit_id, part, addresses, before, after)
SELECT %(audit_id)s, part, array_agg(address ORDER BY address), array_agg(before ORDER BY address),
       array_agg(after ORDER BY address)
FROM (
    SELECT address, (row_number() OVER (ORDER BY address) - 1) / %(size)s AS part,
           ((before ->> 'archive_internal')::boolean::integer
            + 2 * (before ->> 'archive_federated')::boolean::integer)::smallint AS before,
           (archive_internal::integer + 2 * archive_federated::integer)::smallint AS after
    FROM changed
) AS c GROUP BY part ORDER BY part
"""
# One of those that it changes in the same way.
_ALIKE: Final = """
SELECT min(address) FROM changed
GROUP BY split_part(address, '@', 2), address LIKE 'sip:+%', before, archive_internal, archive_federated
"""
# Without a domain a number has the flags of all its homes in our domains, also of those that stay as they
# are: one of those numbers whose flags change in the same way.
_NUMBERS_ALIKE: Final = """
SELECT min(address) FROM (
    SELECT min(address) FILTER (WHERE c.address IS NOT NULL) AS address,
           bit_or(coalesce(u.archive_internal::integer + 2 * u.archive_federated::integer, 0)) AS before,
           bit_or(CASE WHEN c.address IS NULL
                  THEN u.archive_internal::integer + 2 * u.archive_federated::integer
                  ELSE c.archive_internal::integer + 2 * c.archive_federated::integer END) AS after
    FROM policy.users AS u FULL JOIN changed AS c USING (address)
    WHERE address LIKE 'sip:+%' AND split_part(address, '@', 2) IN (SELECT domain FROM policy.domains)
    GROUP BY split_part(address, '@', 1)
) AS numbers WHERE address IS NOT NULL GROUP BY before, after
"""
_CONTRADICTIONS: Final = """
SELECT (array_agg(line ORDER BY line))[1:5] AS lines FROM bulk GROUP BY address
HAVING count(DISTINCT (archive_internal, archive_federated)) > 1 ORDER BY lines LIMIT %s
"""


def store(rows: IO[bytes], change: Change) -> tuple[int, Sequence[str]]:
    """Apply rows as the next version; return the number of users changed, and sentences on the weakenings.

    Raises LinesProblem.
    """
    with _cursor_of(change) as cursor:
        cursor.execute("SET LOCAL statement_timeout = '120s'")
        cursor.execute("SELECT policy.open_bulk()")
        with cursor.copy("COPY bulk (line, address, archive_internal, archive_federated) FROM STDIN") as copy:
            while chunk := rows.read(IN_MEMORY):
                copy.write(chunk)
        contradictions = cursor.execute(_CONTRADICTIONS, [MAX_ERRORS]).fetchall()
        if contradictions:
            raise LinesProblem(
                [
                    (lines[0], f"lines {', '.join(map(str, lines))} of one address differ")
                    for (lines,) in contradictions
                ]
            )
        cursor.execute("SELECT policy.compare_bulk()")
        alike = [address for (address,) in cursor.execute(_ALIKE).fetchall()]
        if any(map(number_of, alike)):
            alike += [address for (address,) in cursor.execute(_NUMBERS_ALIKE).fetchall()]
        weighing = Weighing(change.session, alike)
        updated = cursor.execute(_UPDATE, {"version": change.next_version}).rowcount
        inserted = cursor.execute(_INSERT, {"version": change.next_version}).rowcount
        return updated + inserted, weighing.weakenings()


def unfold(change: Change, number: int) -> None:
    """Write the users that the change changed beside its audit record."""
    with _cursor_of(change) as cursor:
        cursor.execute(_UNFOLD, {"audit_id": number, "size": _PART})


def _cursor_of(change: Change) -> Cursor:
    connection = change.session.connection().connection.driver_connection
    assert isinstance(connection, Connection)
    return connection.cursor()
