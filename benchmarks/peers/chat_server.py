"""A run of any XMPP server with its message archive (XEP-0313) in PostgreSQL."""

import asyncio
import secrets
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.abc import QueryNoTemplate

from benchmarks.peers.ground import Ground
from benchmarks.peers.peer import WHOLE_WAY, NotInstalledError, Result
from benchmarks.peers.xmpp import Crowd, make_accounts
from deploy.local.process import Process, find_free_port, wait_for


class ChatServer(ABC):
    """An XMPP server from the distribution's packages, as a private process."""

    name: str
    package: str
    driver: str
    """The package that lets it use PostgreSQL."""
    measured = "chat messages to committed rows: delivery and archive, one row for each of two archives"
    beside = WHOLE_WAY
    progress: QueryNoTemplate
    """Gives the number of rows begun, at once: counting them each time would be PostgreSQL's work too."""
    verdict: QueryNoTemplate
    """Gives rows, distinct IMs, and the time of the last commit (seconds since 1970)."""

    def __init__(self, ground: Ground) -> None:
        """Use the ground's PostgreSQL."""
        self._ground = ground

    def version(self) -> str:
        """Return the package's version. Raises NotInstalledError."""
        packages = [self.package, self.driver]
        versions = [_version_of(package) for package in packages]
        if not all(versions):
            raise NotInstalledError(f"apt-get install {' '.join(packages)}")
        return versions[0]

    @abstractmethod
    def start(self, folder: Path, port: int, database_url: str, accounts: dict[str, str]) -> Process:
        """Start the server with these accounts; it archives in this database and listens on this port."""

    @contextmanager
    def _serving(self, port: int, database_url: str, accounts: dict[str, str]) -> Iterator[Process]:
        folder = self._ground.folder / self.package
        folder.mkdir(parents=True, exist_ok=True)
        process = self.start(folder, port, database_url, accounts)
        try:
            process.wait_until(lambda: find_free_port(port) != port)
            yield process
        finally:
            process.stop()

    def run(self, count: int) -> Result:
        """Let users write so many IMs to each other, and wait for two rows of each."""
        port = find_free_port()
        accounts = make_accounts(secrets.token_hex(8))
        with (
            self._ground.fresh_database(self.package) as url,
            self._serving(port, url, accounts) as server,
            psycopg.connect(url, autocommit=True) as archive,
        ):
            return asyncio.run(self._measure(server, archive, Crowd(port, accounts, count), count))

    async def _measure(
        self, server: Process, archive: psycopg.Connection, crowd: Crowd, count: int
    ) -> Result:
        def begun() -> int:
            try:
                row = archive.execute(self.progress).fetchone()
            except psycopg.errors.UndefinedTable:  # Prosody makes it when the first IM comes
                return 0
            assert row is not None
            return int(row[0])

        def judge() -> tuple[int, int, float]:
            row = archive.execute(self.verdict).fetchone()
            assert row is not None
            return row[0], row[1], row[2] or 0.0

        await crowd.log_in()
        meter = self._ground.meter(broker=False, server=server)
        started = await crowd.send()
        # In a thread: the users go on taking what is delivered meanwhile.
        await asyncio.to_thread(
            wait_for, lambda: begun() >= 2 * count, f"{2 * count:,} rows", seconds=600, every=0.1
        )
        cpu = meter.stop()
        await asyncio.to_thread(
            wait_for, lambda: judge()[0] >= 2 * count, f"{2 * count:,} rows committed", every=0.1
        )
        await crowd.log_out()
        rows, ims, ended = judge()
        if (rows, ims) != (2 * count, count):
            raise RuntimeError(f"{count:,} IMs were sent, {ims:,} are archived, in {rows:,} rows")
        return Result(ims, ended - started, cpu)


def _version_of(package: str) -> str:
    """Return the version of a package of the distribution, empty if it isn't installed."""
    program = shutil.which("dpkg-query")
    if program is None:
        return ""
    shown = subprocess.run(
        [program, "--show", "--showformat=${db:Status-Status} ${Version}", package],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    status, _, version = shown.stdout.partition(" ")
    return version if status == "installed" else ""
