"""The admin API on a database of a test's own, as each of the people sees it."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
import uvicorn
from sqlalchemy import ClauseElement
from sqlmodel import Session

import admin_api.database
from admin_api.access.principals import load_principals
from admin_api.app import create_app
from admin_api.config import AdminSettings
from archiving.archive import Archive
from contract.message import IM, make_id, time_of
from deploy.local.database import Database
from deploy.local.process import NO_TLS, wait_for
from runtime.safe_headers import SendSafely
from runtime.token import hash_token
from tests.conftest import ArchiveDatabase, create_database
from tests.openapi import Documented, admin_document

ROLES = ("administrator", "compliance", "operator", "frontend")
LOOKS = ("audit.read", "users.list", "users.read", "users.decision", "archive.parked.list")
NO_BROKER = "amqp://nobody:nothing@127.0.0.1:1/lcs"


def write_principals(folder: Path) -> Path:
    """Write a file of principals: one for each role, whose name and token is the role's name."""
    path = folder / "principals.json"
    path.write_text(
        json.dumps([{"name": f"the {role}", "hash": hash_token(role), "roles": [role]} for role in ROLES])
    )
    return path


@dataclass
class AdminApi:
    """A running admin API."""

    url: str
    database: ArchiveDatabase
    administrator: httpx.Client
    compliance: httpx.Client
    operator: httpx.Client
    frontend: httpx.Client
    anybody: httpx.Client

    @property
    def version(self) -> int:
        """The version of policy."""
        return int(self.administrator.get("/v1/policy").raise_for_status().json()["version"])

    def stamp(self, version: int) -> UUID:
        """Return the stamp of a version that was."""
        [(stamp,)] = self.database.rows(f"SELECT stamp FROM policy.versions WHERE version = {version}")  # noqa: S608 - a number
        return UUID(str(stamp))

    def etag(self, version: int) -> str:
        """Return the ETag of what a version changed last."""
        return f'"{version}-{self.stamp(version).hex}"'

    def audit(self, **parameters: str) -> list[dict[str, Any]]:
        """Return the newest audit records, newest first, but for looks at lists and settings."""
        answer = self.compliance.get("/v1/audit", params=parameters).raise_for_status()
        records: list[dict[str, Any]] = answer.json()["records"]
        return [record for record in records if record["action"] not in LOOKS]

    def wait_for_metric(self, line: str) -> None:
        """Return when Prometheus is told a figure."""
        wait_for(lambda: line in self.anybody.get("/metrics").text.splitlines(), line)

    def execute(self, statement: str) -> None:
        """Do something in the database as the superuser."""
        with psycopg.connect(self.database.url("postgres")) as connection:
            connection.execute(statement.encode())

    def store(self, ims: Sequence[IM]) -> None:
        """Put IMs into the archive as the archiving service does."""
        archive = Archive(self.database.url("lcs_archiving"))
        archive.store(ims)
        archive.close()

    def plan_of(self, make: Callable[[Session], ClauseElement]) -> str:
        """Return how the database would answer a query of the service's."""
        service = admin_api.database.Database(self.database.url("lcs_admin"))
        with service.transaction() as session:
            compiled = make(session).compile(session.get_bind())
            rows = session.connection().exec_driver_sql(f"EXPLAIN {compiled}", compiled.params).all()
        service.close()
        return "\n".join(str(row[0]) for row in rows)


def connect(url: str, token: str | None = None) -> httpx.Client:
    """Return a client of whoever has a token."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return httpx.Client(
        base_url=url,
        headers=headers,
        timeout=60,
        trust_env=False,
        verify=NO_TLS,
        event_hooks={"response": [Documented(admin_document)]},
    )


@contextlib.contextmanager
def running_api(
    database: ArchiveDatabase,
    folder: Path,
    *,
    amqp_url: str = NO_BROKER,
    address: tuple[str, int] = ("127.0.0.1", 0),
    **settings: Any,
) -> Iterator[AdminApi]:
    """Run the application in a thread, by default on a free port."""
    principals_file = write_principals(folder)
    settings = {
        "database_url": database.url("lcs_admin"),
        "amqp_url": amqp_url,
        "principals_file": principals_file,
        **settings,
    }
    app = create_app(AdminSettings(**settings), load_principals(principals_file))
    server = uvicorn.Server(uvicorn.Config(SendSafely(app), log_config=None, access_log=False))
    with socket.create_server(address) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        try:
            with contextlib.ExitStack() as clients:
                people = {role: clients.enter_context(connect(url, role)) for role in ROLES}
                yield AdminApi(url, database, **people, anybody=clients.enter_context(connect(url)))
        finally:
            server.should_exit = True
            thread.join(30)


@pytest.fixture(scope="module")
def idle_api(
    database_server: Database, credentials: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AdminApi]:
    """An admin API that the tests of a module share: they must not change or archive anything."""
    database = create_database(database_server, credentials)
    with running_api(database, tmp_path_factory.mktemp("idle")) as running:
        yield running
    database.drop()


@pytest.fixture
def api(database: ArchiveDatabase, tmp_path: Path) -> Iterator[AdminApi]:
    """The admin API, with no broker to be found."""
    with running_api(database, tmp_path) as running:
        yield running


def make_im(
    body: str = "hello", *, at_ms: int | None = None, agent: UUID | None = None, seq: int = 1, **fields: Any
) -> IM:
    """Return an IM; ``fields`` differ from the usual."""
    im_id = make_id(at_ms)
    usual: dict[str, Any] = {
        "sender": "sip:yannis@contoso.com",
        "recipients": ("sip:administrator@contoso.com",),
        "conversation": "c1",
        "scope": "internal",
        "content_type": "text/plain",
        "encoding": "text",
        "pool": "pool1",
        "policy_version": 3,
        "rule": "internal-everyone",
    }
    return IM(id=im_id, sent_at=time_of(im_id), body=body, agent=agent or uuid4(), seq=seq, **usual | fields)


def make_ims(count: int, *, start_ms: int = 1_700_000_000_000, **fields: Any) -> list[IM]:
    """Return IMs of one agent, one a second, oldest first."""
    agent = uuid4()
    return [
        make_im(f"number {n}", at_ms=start_ms + n * 1000, agent=agent, seq=n + 1, **fields)
        for n in range(count)
    ]
