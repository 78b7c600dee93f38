"""Schemas dropped and restored from a dump under load; of the archive nothing is lost."""

import re
import subprocess
from typing import Final

import psycopg

from deploy.local.database import find_binaries
from deploy.local.stack import DATABASE
from tests.chaos.processes import ProcessCase

_ARCHIVE: Final = ("archive", "cdr")
_TABLES: Final = (
    "SELECT string_agg(format('%I.%I', schemaname, tablename), ', ')"
    " FROM pg_tables WHERE schemaname IN ('archive', 'cdr')"
)
_NUMBERED: Final = ("users", "conversations")
_RENUMBER: Final = b"""
DO $$
DECLARE
    people integer := (SELECT max(id) + 1 FROM archive.users);
    talks bigint := (SELECT max(id) + 1 FROM archive.conversations);
BEGIN
    SET LOCAL session_replication_role = replica;
    UPDATE archive.users SET id = -id, same_as = people - same_as;
    UPDATE archive.users SET id = people + id;
    UPDATE archive.conversations SET id = -id, same_as = talks - same_as;
    UPDATE archive.conversations SET id = talks + id;
    UPDATE archive.participants SET user_id = -user_id, conversation_id = -conversation_id;
    UPDATE archive.participants SET user_id = people + user_id, conversation_id = talks + conversation_id;
    UPDATE archive.messages SET sender_id = people - sender_id, conversation_id = talks - conversation_id,
        recipient_ids = ARRAY(
            SELECT people - id FROM unnest(recipient_ids) WITH ORDINALITY AS r (id, place) ORDER BY place
        );
END $$
"""
"""What was one name's number is another's."""


def restore_archive(case: ProcessCase) -> None:
    """Let nobody write, dump, drop and restore: all that is stored is there, and is another archive."""
    while True:
        try:
            with case.system.session() as connection, connection.transaction():
                [tables] = connection.execute(_TABLES).fetchone() or [""]
                connection.execute(f"LOCK TABLE {tables} IN EXCLUSIVE MODE".encode())
                restore(connection, dump(case, *_ARCHIVE), *_ARCHIVE)
                for how, statement in (("BY DEFAULT", _RENUMBER), ("ALWAYS", b"")):
                    for table in _NUMBERED:
                        change = f"ALTER TABLE archive.{table} ALTER id SET GENERATED {how}"
                        connection.execute(change.encode())
                    connection.execute(statement)
                return
        except psycopg.errors.DeadlockDetected:
            continue  # a batch was under way


def dump(case: ProcessCase, *schemas: str) -> bytes:
    """Return a backup of schemas as statements."""
    url = case.system.server.url(database=DATABASE)
    options = [f"--schema={schema}" for schema in schemas]
    return subprocess.run(
        [find_binaries() / "pg_dump", f"--dbname={url}", "--rows-per-insert=1000", *options],
        capture_output=True,
        check=True,
    ).stdout


def restore(connection: psycopg.Connection, backup: bytes, *schemas: str) -> None:
    """Put schemas in their place as they were."""
    connection.execute(f"DROP SCHEMA {', '.join(schemas)} CASCADE".encode())
    connection.execute(re.sub(rb"(?m)^\\(un)?restrict .*$", b"", backup))
