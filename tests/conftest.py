"""Private brokers and databases for the tests: nothing that was there before is touched."""

import fcntl
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from urllib.parse import quote, urlsplit
from uuid import UUID, uuid4

import docker
import pika
import psycopg
import pytest
from docker.errors import DockerException
from pika.spec import BasicProperties
from xdist.scheduler import LoadScopeScheduling

import admin_api.migrations
import archiving.migrations
from deploy.credentials import FRONT_END_USER, make_credentials
from deploy.local.broker import Broker, definitions_for
from deploy.local.database import Database
from runtime.migrating import upgrade

_SUPERUSER_PASSWORD = "secret"
_UUID = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their parameter, as what gzip packs has the second of the packing in it; random ids too.

    Workers that collected a test in different seconds would know it by different names, and refuse to run.
    """
    changing = isinstance(val, bytes | UUID) or (isinstance(val, str) and _UUID.search(val))
    return argname if changing else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling | None:
    """Have one worker run all tests that share a system: it is started once (``--dist loadscope``)."""
    return _BySystem(config, log) if config.getoption("dist") == "loadscope" else None


class _BySystem(LoadScopeScheduling):  # type: ignore[misc]  # xdist ships no types
    def _split_scope(self, nodeid: str) -> str:
        """Return the folder whose tests share a system; in e2e the form of theirs; else the module."""
        module = nodeid.partition("::")[0]
        folder, _, name = module.rpartition("/")
        if folder.endswith(("/sip", "/xmpp", "/chaos", "/chaos/containers")):
            return folder
        if folder.endswith("/e2e"):
            if "[containers" in nodeid or name in ("test_compose.py", "test_dashboards.py", "test_sip.py"):
                return f"{folder} in containers"
            if "[processes" in nodeid or name in ("test_docs.py", "test_readme.py"):
                return f"{folder} in processes"
        return module


def password_in(url_file: Path) -> str:
    """Return the password in the address that a file holds."""
    return urlsplit(url_file.read_text().strip()).password or ""


@dataclass
class Delivery:
    """A message taken from a queue."""

    body: bytes
    properties: BasicProperties


@dataclass
class Vhost:
    """A vhost of a test's own, with the whole topology and the users of production."""

    broker: Broker
    name: str
    passwords: dict[str, str]

    @property
    def path(self) -> str:
        """The name as it stands in a path of the management API."""
        return quote(self.name, safe="")

    def url(self, user: str) -> str:
        """Return the AMQP address for a user: frontend, archiving, admin-api or operator."""
        return self.broker.url(_name_of(user), self.passwords[user], self.name)

    def allow(self, user: str, *, write: str) -> None:
        """Let a user write to what it may else not, and configure nothing."""
        path = f"/api/permissions/{self.path}/{quote(_name_of(user))}"
        self.broker.manage("PUT", path, {"configure": "", "write": write, "read": ""})

    def add_user(self, name: str) -> None:
        """Make another user with the rights of a front end's."""
        self.passwords[name] = "secret"
        self.broker.manage("PUT", f"/api/users/{quote(name)}", {"password": "secret", "tags": ""})
        self.allow(name, write=r"^lcs\.(ingest|cdr)$")

    def depth(self, queue: str) -> int:
        """Return how many messages of a queue are ready."""
        with self.connect() as connection:
            return int(connection.channel().queue_declare(queue, passive=True).method.message_count)

    def take(self, queue: str) -> list[Delivery]:
        """Take all messages that are ready."""
        taken: list[Delivery] = []
        with self.connect() as connection:
            channel = connection.channel()
            while True:
                method, properties, body = channel.basic_get(queue, auto_ack=True)
                if method is None:
                    return taken
                taken.append(Delivery(body, properties))

    def connect(self, user: str = "operator") -> pika.BlockingConnection:
        """Return a connection of a user."""
        return pika.BlockingConnection(pika.URLParameters(self.url(user)))


def _name_of(user: str) -> str:
    return FRONT_END_USER if user == "frontend" else user


@dataclass
class ArchiveDatabase:
    """A database of a test's own, with both schemas."""

    server: Database
    name: str
    passwords: dict[str, str]
    _session: psycopg.Connection | None = field(default=None, init=False)
    """Kept: to connect takes the two sides more work than most questions."""

    def url(self, role: str) -> str:
        """Return the address for a role: lcs_owner, lcs_archiving, lcs_admin or postgres."""
        return self.server.url(role, self.passwords.get(role), self.name)

    def begin_anew(self, migrations: ModuleType, revision: str) -> None:
        """Make a service's schemas anew, as they were at an older revision of ``migrations``, and empty."""
        schemas = "policy" if migrations is admin_api.migrations else "archive, cdr"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA {schemas} CASCADE".encode())
        upgrade(Path(str(migrations.__file__)).parent, self.url("lcs_owner"), revision)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Return what a query finds, asked as the superuser."""
        try:
            return self._ask(query)
        except psycopg.OperationalError:
            if self._session is None or not self._session.closed:
                raise
            return self._ask(query)  # the server was started anew since

    def _ask(self, query: str) -> list[tuple[object, ...]]:
        if self._session is None or self._session.closed:
            # Not prepared: a test may make the tables anew meanwhile.
            self._session = psycopg.connect(self.url("postgres"), autocommit=True, prepare_threshold=None)
        return self._session.execute(query.encode()).fetchall()

    def close(self) -> None:
        """End the session for questions."""
        if self._session is not None:
            self._session.close()

    def drop(self) -> None:
        """Remove it, whoever is connected to it."""
        self.close()
        with psycopg.connect(self.server.url(), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {self.name} WITH (FORCE)".encode())


def declare(broker: Broker, vhost: str, credentials: Path) -> Vhost:
    """Make a vhost with topology and users on a node."""
    users = json.loads((credentials / "rabbitmq" / "definitions.json").read_text())["users"]
    broker.import_definitions(definitions_for(vhost, users))
    passwords = {
        user: password_in(credentials / user / "lcs_amqp_url")
        for user in ("frontend", "archiving", "admin-api")
    }
    passwords["operator"] = (credentials / "people" / "rabbitmq-operator").read_text().strip()
    return Vhost(broker, vhost, passwords)


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """A Docker Engine; skipped where none answers, unless ``CI`` says that one must."""
    try:
        client = docker.from_env(timeout=120)
        client.ping()
    except DockerException as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no Docker Engine answers: {error}")
    yield client
    client.close()


def make_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that whichever worker of a run needs it first has made, for all of them."""
    run = factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else factory.getbasetemp()
    with (run / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (run / name).exists():
            make(run / f"{name}.new")
            (run / f"{name}.new").rename(run / name)
    return run / name


@pytest.fixture(scope="session")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all secrets."""
    return make_once(tmp_path_factory, "credentials", make_credentials)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A private RabbitMQ node that the tests of a run share; they must not stop it."""
    node = Broker(tmp_path_factory.mktemp("broker"))
    node.start()
    yield node
    node.kill()


@pytest.fixture(scope="session")
def own_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A RabbitMQ node for tests that stop it; it runs from the first of them on."""
    node = Broker(tmp_path_factory.mktemp("own-broker"))
    yield node
    node.kill()


@pytest.fixture
def own_broker(own_node: Broker, credentials: Path, request: pytest.FixtureRequest) -> Iterator[Vhost]:
    """A fresh vhost on a RabbitMQ node that nobody else uses now: a test may stop, kill and start it."""
    own_node.resume()
    if not own_node.alive:
        own_node.start()
    declared = declare(own_node, _name_for(request), credentials)
    yield declared
    own_node.resume()
    own_node.forget_vhost(declared.name)


@pytest.fixture
def vhost(broker: Broker, credentials: Path, request: pytest.FixtureRequest) -> Iterator[Vhost]:
    """A fresh vhost on the shared node."""
    declared = declare(broker, _name_for(request), credentials)
    yield declared
    broker.forget_vhost(declared.name)


def _name_for(request: pytest.FixtureRequest) -> str:
    return f"{request.node.name[:100]}-{id(request)}"


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory, credentials: Path) -> Path:
    """The data of a PostgreSQL server, which doesn't run, with a migrated database ``template``."""

    def make(folder: Path) -> None:
        server = Database(folder, _SUPERUSER_PASSWORD)
        server.start()
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute((credentials / "postgres" / "roles.sql").read_bytes())
        server.create_database("template")
        owner = server.url("lcs_owner", role_passwords(credentials)["lcs_owner"], "template")
        archiving.migrations.migrate(owner)
        admin_api.migrations.migrate(owner)
        server.stop()

    return make_once(tmp_path_factory, "migrated", make) / "data"


def start_server(folder: Path, migrated: Path) -> Database:
    """Start a server with a copy of what ``migrated`` holds."""
    server = Database(folder, _SUPERUSER_PASSWORD)
    subprocess.run(["cp", "--archive", migrated, folder / "data"], check=True)  # noqa: S607 - with its owner
    server.start()
    return server


@pytest.fixture(scope="session")
def database_server(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Database]:
    """A private PostgreSQL server with a migrated database ``template``; tests must not stop it."""
    server = start_server(tmp_path_factory.mktemp("postgres"), migrated)
    with psycopg.connect(server.url(), autocommit=True) as connection:
        # What comes of a power cut is for tests with a server of their own: here no disk is waited for.
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    yield server
    server.kill()


def role_passwords(credentials: Path) -> dict[str, str]:
    """Return the passwords of the database's roles."""
    return {
        "lcs_owner": password_in(credentials / "migrations" / "lcs_database_url"),
        "lcs_archiving": password_in(credentials / "archiving" / "lcs_database_url"),
        "lcs_admin": password_in(credentials / "admin-api" / "lcs_database_url"),
    }


def create_database(server: Database, credentials: Path) -> ArchiveDatabase:
    """Return a fresh migrated database."""
    name = f"test_{uuid4().hex}"
    server.create_database(name, template="template")
    return ArchiveDatabase(server, name, role_passwords(credentials))


@pytest.fixture
def database(database_server: Database, credentials: Path) -> Iterator[ArchiveDatabase]:
    """A fresh migrated database on the shared server."""
    made = create_database(database_server, credentials)
    yield made
    made.drop()


@pytest.fixture
def own_database(
    tmp_path_factory: pytest.TempPathFactory, credentials: Path, migrated: Path
) -> Iterator[ArchiveDatabase]:
    """A migrated database on a server of the test's own: it may stop, kill and start ``.server``."""
    server = start_server(tmp_path_factory.mktemp("own-postgres"), migrated)
    made = ArchiveDatabase(server, "template", role_passwords(credentials))
    yield made
    made.close()
    server.kill()
