"""Backups of an archive and what is made of them, by PostgreSQL's own programs."""

import subprocess
from pathlib import Path

from deploy.local.database import find_binaries
from tests.conftest import ArchiveDatabase

SCHEMAS = ("--schema=archive", "--schema=cdr")


def run(program: str, *arguments: str | Path) -> str:
    """Run one of PostgreSQL's programs; return what it says. Raises RuntimeError."""
    done = subprocess.run(
        [find_binaries() / program, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{program}: {done.stdout}{done.stderr}")
    return done.stdout


def dump(database: ArchiveDatabase, file: Path, *options: str) -> None:
    """Back up the archive's schemas as SQL."""
    url = f"--dbname={database.url('postgres')}"
    run("pg_dump", url, f"--file={file}", *(options or SCHEMAS))


def execute_file(database: ArchiveDatabase, file: Path, *before: str) -> None:
    """Execute statements, then a file of SQL, in one transaction."""
    url = f"--dbname={database.url('postgres')}"
    commands = [f"--command={statement}" for statement in before]
    run(
        "psql",
        url,
        "--no-psqlrc",
        "--set=ON_ERROR_STOP=1",
        "--single-transaction",
        *commands,
        f"--file={file}",
    )
