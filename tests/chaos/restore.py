"""The archive dropped and restored from a dump under load, in one transaction, with nothing lost."""

import re
import subprocess
from typing import Final

import psycopg

from deploy.local.database import find_binaries
from deploy.local.stack import DATABASE
from tests.chaos.processes import ProcessCase

_TABLES: Final = (
    "SELECT string_agg(format('%I.%I', schemaname, tablename), ', ')"
    " FROM pg_tables WHERE schemaname IN ('archive', 'cdr')"
)
_DUMP: Final = ("--schema=archive", "--schema=cdr", "--inserts", "--rows-per-insert=1000")


def restore_archive(case: ProcessCase) -> None:
    """Let nobody write, dump, drop and restore: all that is stored is there, and is another archive."""
    while True:
        try:
            with case.system.session() as connection, connection.transaction():
                [tables] = connection.execute(_TABLES).fetchone() or [""]
                connection.execute(f"LOCK TABLE {tables} IN EXCLUSIVE MODE".encode())
                url = case.system.server.url(database=DATABASE)
                dump = subprocess.run(
                    [find_binaries() / "pg_dump", f"--dbname={url}", *_DUMP], capture_output=True, check=True
                ).stdout
                connection.execute("DROP SCHEMA archive, cdr CASCADE")
                connection.execute(re.sub(rb"(?m)^\\(un)?restrict .*$", b"", dump))
                return
        except psycopg.errors.DeadlockDetected:
            continue  # a batch was under way
