"""The stack on this machine: broker, database, admin API, archiving workers, two front ends in one pool."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit, urlunsplit

import httpx
import pika
import psycopg

import admin_api.migrations
import archiving.migrations
from deploy.credentials import DOMAINS, POOL, make_credentials
from deploy.local.broker import Broker, definitions_for
from deploy.local.database import Database
from deploy.local.edge import LocalEdge
from deploy.local.environment import describe, ports_asked_for, settings_for
from deploy.local.ports import Ports
from deploy.local.process import NO_TLS, Process, StartError, kill_leftovers
from runtime.broker import BrokerAddress

DATABASE = "lcslog"


class Stack:
    """Everything that ``make demo`` and ``make up`` start, as processes on loopback.

    ``LCS_AMQP_URL`` and ``LCS_DATABASE_URL`` in the environment name a broker and a database to use in
    place of private ones: the first with the right to configure its vhost, the second with the right to
    make roles and schemas.
    """

    def __init__(
        self,
        folder: Path,
        *,
        front_ends: int = 2,
        workers: int = 1,
        sip: bool = False,
        say: Callable[[str], None] = print,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """``folder`` keeps all data, logs and secrets; ``sip``: with an edge; ``say`` is told of progress.

        ``environment`` has further settings of the services. Raises StartError if a port in it is none.
        """
        self.folder = folder
        self.front_end_urls: list[str] = []
        self.admin_url = ""
        self.broker: Broker | None = None
        self.database: Database | None = None
        self.processes: dict[str, Process] = {}
        self.settings: dict[str, str] = {}
        """Further settings of front ends and workers that start from now on."""
        self._front_ends = front_ends
        self._workers = workers
        self._sip = sip
        self.edge: LocalEdge | None = None
        self._say = say
        self._environment = environment
        self._ports = Ports(folder, say, ports_asked_for(environment))
        self._lock: IO[str] | None = None
        self._amqp_url = environment.get("LCS_AMQP_URL")
        self._database_url = environment.get("LCS_DATABASE_URL")

    @property
    def tokens(self) -> dict[str, str]:
        """The people's tokens: administrator, compliance, operator, connector."""
        people = self.folder / "secrets" / "people"
        return {path.name: path.read_text().strip() for path in people.iterdir()}

    def start(self) -> None:
        """Start everything and wait until it serves. Raises StartError, naming the part."""
        self._take_folder()
        self.clean()
        for line in describe(self._environment):
            self._say(line)
        secrets = self.folder / "secrets"
        front_ends = [f"fe{number}" for number in range(1, self._front_ends + 1)]
        make_credentials(secrets, front_ends=front_ends)
        self._start_database(secrets)
        self._start_broker(secrets)
        make_credentials(
            secrets,
            amqp=_authority(self._amqp_url) if self._amqp_url else f"127.0.0.1:{self._broker.amqp_port}",
            database=_authority(self._database_url)
            if self._database_url
            else f"127.0.0.1:{self._server.port}",
            front_ends=front_ends,
        )
        self._migrate(secrets)
        self._start_admin_api(secrets)
        for number in range(1, self._workers + 1):
            self.start_worker(f"archiving-{number}")
        self._start_cdr()
        for name in front_ends:
            self.start_front_end(name)
        if self._sip:
            self._start_edge(secrets / "edge")

    def clear(self) -> None:
        """Begin anew: nothing that an earlier run left is kept. Raises StartError if it still runs."""
        self._take_folder()
        self.clean()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _take_folder(self) -> None:
        """Be the only stack in the folder: a second one would clean up after the first, and kill it."""
        if self._lock is not None:
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        lock = self.folder.with_name(f"{self.folder.name}.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise StartError(f"a stack runs in {self.folder} already: stop that first") from None
        self._lock = lock

    @property
    def _broker(self) -> Broker:
        assert self.broker is not None
        return self.broker

    @property
    def _server(self) -> Database:
        assert self.database is not None
        return self.database

    def _start_database(self, secrets: Path) -> None:
        if self._database_url is not None:
            self._say(f"database    the one named: {_authority(self._database_url)}")
            return
        self.database = Database(
            self.folder / "postgres", (secrets / "postgres" / "password").read_text().strip()
        )
        self.database.start()
        self._say(f"database    PostgreSQL at 127.0.0.1:{self.database.port}")

    def _start_broker(self, secrets: Path) -> None:
        if self._amqp_url is not None:
            _declare(self._amqp_url)
            self._say(f"broker      the one named: {_authority(self._amqp_url)}")
            return
        self._say("broker      RabbitMQ is starting (some 10 s)")
        self.broker = Broker(self.folder / "rabbitmq")
        self.broker.start()
        definitions = (secrets / "rabbitmq" / "definitions.json").read_text()
        self.broker.import_definitions(httpx.Response(200, text=definitions).json())
        self._say(f"broker      RabbitMQ at 127.0.0.1:{self.broker.amqp_port}, {self.broker.management_url}")

    def _migrate(self, secrets: Path) -> None:
        roles = (secrets / "postgres" / "roles.sql").read_bytes()
        admin = self._database_url or self._server.url()
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(roles)
        if self._database_url is None:
            self._server.create_database(DATABASE)
        owner = self._database_url or _read(secrets / "migrations" / "lcs_database_url")
        archiving.migrations.migrate(owner)
        admin_api.migrations.migrate(owner)
        self._say("schemas     archive and policy are up to date")

    def _database_address(self, service: str) -> str:
        """Return a service's database address: its own role, in the named database if there is one."""
        url = _read(self.folder / "secrets" / service / "lcs_database_url")
        if self._database_url is None:
            return url
        return urlunsplit(urlsplit(url)._replace(path=urlsplit(self._database_url).path))

    def _start_admin_api(self, secrets: Path) -> None:
        port = self._ports.take("admin-api", 8081)
        self.admin_url = f"http://127.0.0.1:{port}"
        self._start(
            "admin-api",
            "admin_api",
            port,
            settings_for("admin-api", self._environment)
            | {
                "LCS_DATABASE_URL": self._database_address("admin-api"),
                "LCS_AMQP_URL": self._amqp_address("admin-api"),
                "LCS_PRINCIPALS_FILE": str(secrets / "admin-api" / "principals.json"),
            },
        )

    def _amqp_address(self, service: str) -> str:
        return self._amqp_url or _read(self.folder / "secrets" / service / "lcs_amqp_url")

    def _archiving_settings(self, service: str) -> dict[str, str]:
        settings = settings_for(service, self._environment) | {
            "LCS_DATABASE_URL": self._database_address("archiving"),
            "LCS_AMQP_URL": self._amqp_address("archiving"),
        }
        if self._amqp_url is not None:  # all log in as one user, whose name says no pool
            settings["LCS_FRONT_END_USERS"] = json.dumps({BrokerAddress(self._amqp_url).user: POOL})
        return settings | self.settings

    def start_worker(self, name: str) -> Process:
        """Start an archiving worker."""
        return self._start(name, "archiving", self._ports.take(name), self._archiving_settings("archiving"))

    def _start_cdr(self) -> None:
        """Start the worker of call detail records."""
        self._start("cdr", "archiving", self._ports.take("cdr"), self._archiving_settings("cdr"), "cdr")

    def start_front_end(self, name: str) -> Process:
        """Start a front end."""
        port = self._ports.take(name, 0 if self.front_end_urls else 8080)
        secrets = self.folder / "secrets" / "frontend"
        own = secrets.with_name(f"front-end-{name}")
        process = self._start(
            name,
            "frontend",
            port,
            settings_for("frontend", self._environment)
            | {
                "LCS_AMQP_URL": self._amqp_address(own.name if own.exists() else secrets.name),
                "LCS_ADMIN_API_URL": self.admin_url,
                "LCS_ADMIN_API_TOKEN": _read(secrets / "lcs_admin_api_token"),
                "LCS_CONNECTORS_FILE": str(secrets / "connectors.json"),
                "LCS_FRONT_END": name,
                "LCS_POOL": POOL,
                "LCS_STATE_DIR": str(self.folder / "front-ends" / name),
                **self.settings,
            },
        )
        self.front_end_urls.append(f"http://127.0.0.1:{port}")
        return process

    def _start_edge(self, secrets: Path) -> None:
        hook = f"{self.front_end_urls[0]}/v1/sip"
        domains = self._environment.get("LCS_CONNECTOR_DOMAINS", DOMAINS)
        self.edge = LocalEdge(
            self.folder / "processes",
            hook=hook,
            secrets=secrets,
            domains=domains,
            ports=self._ports,
            settings=settings_for("edge", self._environment),
        )
        self.processes["edge"] = self.edge.process
        self._say("{:11} sip:{}:{}, {}".format("edge", *self.edge.address, self.edge.websocket_url))

    def _start(
        self, name: str, module: str, port: int, settings: Mapping[str, str], *arguments: str
    ) -> Process:
        environment = {"LCS_HOST": "127.0.0.1", "LCS_PORT": str(port), **settings}
        process = Process(
            name, [sys.executable, "-m", module, *arguments], self.folder / "processes", environment
        )
        self.processes[name] = process
        process.wait_until(lambda: _is_ready(f"http://127.0.0.1:{port}/readyz"), seconds=60)
        self._say(f"{name:11} http://127.0.0.1:{port}")
        return process

    def stop(self) -> None:
        """Stop everything in the order in which nothing is lost: front ends, workers, the rest."""
        if self._lock is None:  # the folder is another's
            return
        for process in reversed(self.processes.values()):
            process.stop(signal.SIGTERM)
        self.processes.clear()
        self.front_end_urls.clear()
        if self.broker is not None:
            self.broker.stop()
        if self.database is not None:
            self.database.stop()
        self.clean()  # what was interrupted as it began
        self._ports.release()
        self._lock.close()
        self._lock = None

    def clean(self) -> list[str]:
        """End processes that a killed run left; return their names."""
        return kill_leftovers(self.folder)

    def watch(self) -> Path | None:
        """Return the log of a process that has ended by itself, None if all run."""
        servers = [server.process for server in (self.database, self.broker) if server is not None]
        processes = [process for process in (*servers, *self.processes.values()) if process is not None]
        return next((process.log for process in processes if not process.alive), None)


def _read(path: Path) -> str:
    return path.read_text().strip()


def _authority(url: str) -> str:
    """Return host and port of an address, without user and password."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname or ""


def _is_ready(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, timeout=5, verify=NO_TLS).status_code == httpx.codes.OK
    return False


def _declare(amqp_url: str) -> None:
    """Declare exchanges, queues and bindings in the vhost of a broker that isn't ours."""
    definitions = definitions_for("", [])
    with pika.BlockingConnection(pika.URLParameters(amqp_url)) as connection:
        channel = connection.channel()
        for exchange in definitions["exchanges"]:
            channel.exchange_declare(exchange["name"], exchange["type"], durable=True)
        for queue in definitions["queues"]:
            channel.queue_declare(queue["name"], durable=True, arguments=queue["arguments"])
        for binding in definitions["bindings"]:
            channel.queue_bind(binding["destination"], binding["source"], binding["routing_key"])
