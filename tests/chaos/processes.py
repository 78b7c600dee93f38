"""The system as processes: the local stack, with a network between its parts that can be cut."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import psycopg

from contract.broker_users import FrontEndUser
from deploy.local.broker import Broker, definitions_for
from deploy.local.database import Database
from deploy.local.process import Process, find_free_port
from deploy.local.stack import DATABASE, Stack
from tests.chaos import clocked_front_end
from tests.chaos.case import Case
from tests.chaos.clocked_front_end import VARIABLE
from tests.chaos.proxy import Proxy
from tests.chaos.system import System

DISK_MEGABYTES = 400


class Processes(Stack, System):
    """Two front ends and a worker, which reach broker and database through proxies."""

    def __init__(self, folder: Path) -> None:
        """Nothing starts yet."""
        super().__init__(folder, say=lambda _: None)
        self.settings = {"LCS_CHANNEL_SECONDS": "5"}
        self.to_broker: Proxy | None = None
        self.to_database: Proxy | None = None
        self.to_admin: Proxy | None = None
        self._small_disk = False

    @property
    def node(self) -> Broker:
        """The broker."""
        assert self.broker is not None
        return self.broker

    @property
    def server(self) -> Database:
        """The database server."""
        assert self.database is not None
        return self.database

    def start(self) -> None:
        """Start everything; the database on a small disk of its own if this user may mount one."""
        disk = self.folder / "postgres"
        disk.mkdir(parents=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "lcs-chaos", str(disk)]
        self._small_disk = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        super().start()
        with self.administrator() as client:
            client.put("/v1/policy/domains/contoso.com", json={}).raise_for_status()

    def stop(self) -> None:
        """Stop everything, however it is."""
        self.clean()
        super().stop()
        for proxy in (self.to_broker, self.to_database, self.to_admin):
            if proxy is not None:
                proxy.close()
        if self._small_disk:
            unmount = ["umount", "--lazy", str(self.folder / "postgres")]
            subprocess.run(unmount, check=False)
            self._small_disk = False
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def has_small_disk(self) -> bool:
        """Whether the database's disk can be filled."""
        return self._small_disk

    def enlarge_disk(self, megabytes: int) -> None:
        """Give the database a larger disk, if it has a small one."""
        if self._small_disk:
            remount = ["mount", "-o", f"remount,size={megabytes}m", str(self.folder / "postgres")]
            subprocess.run(remount, check=True)

    # The network

    def _amqp_address(self, service: str) -> str:
        if self.to_broker is None:
            self.to_broker = Proxy(self.node.amqp_port)
        return super()._amqp_address(service).replace(f":{self.node.amqp_port}/", f":{self.to_broker.port}/")

    def _database_address(self, service: str) -> str:
        if self.to_database is None:
            self.to_database = Proxy(self.server.port)
        return (
            super()._database_address(service).replace(f":{self.server.port}/", f":{self.to_database.port}/")
        )

    # Front ends

    def _start(
        self, name: str, module: str, port: int, settings: Mapping[str, str], *arguments: str
    ) -> Process:
        if module == "frontend":
            if self.to_admin is None:
                self.to_admin = Proxy(int(self.admin_url.rpartition(":")[2]))
            admin = f"http://127.0.0.1:{self.to_admin.port}"
            settings = {**settings, "LCS_ADMIN_API_URL": admin, VARIABLE: str(self._clock(name))}
            module = clocked_front_end.__name__
        return super()._start(name, module, port, settings, *arguments)

    def _clock(self, name: str) -> Path:
        return self.folder / f"clock-{name}"

    def set_clock(self, ahead: float, number: int = 1) -> None:
        """Set a front end's clock ahead of the true time by some seconds, or behind."""
        fresh = self.folder / "clock.new"
        fresh.write_text(str(ahead))
        fresh.replace(self._clock(f"fe{number}"))

    def address_of_front_end(self, number: int = 1) -> str:
        """Return where a front end reaches the broker, and as whom."""
        return self._amqp_address(f"front-end-fe{number}")

    def slot(self, name: str, number: int = 1) -> Path:
        """Return the folder of a slot of a front end's, its own or another's."""
        return self.folder / "front-ends" / f"fe{number}" / name

    def front_end(self, number: int = 1) -> Process:
        """Return a front end's process."""
        return self.processes[f"fe{number}"]

    def urls(self) -> Sequence[str]:
        return tuple(self.front_end_urls)

    def restart_front_end(self, number: int = 1) -> None:
        """Start a front end that ended, in its place and on its disk."""
        self.start_front_end(f"fe{number}")
        self.front_end_urls[number - 1] = self.front_end_urls.pop()

    def start_front_end_of(self, pool: str, broker_port: int) -> str:
        """Start a front end of another pool, on the volume of the first; return its address."""
        user, port = FrontEndUser(pool).name, find_free_port()
        users = [{"name": user, "password": pool, "tags": ""}]
        self.node.manage("POST", "/api/definitions", definitions_for("lcs", users))
        secrets = self.folder / "secrets" / "frontend"
        connectors = json.loads((secrets / "connectors.json").read_text())
        its_connectors = self.folder / f"connectors-{pool}.json"
        its_connectors.write_text(json.dumps([each | {"pool": pool} for each in connectors]))
        settings = {
            "LCS_AMQP_URL": f"amqp://{user}:{pool}@127.0.0.1:{broker_port}/lcs",
            "LCS_ADMIN_API_TOKEN": (secrets / "lcs_admin_api_token").read_text().strip(),
            "LCS_CONNECTORS_FILE": str(its_connectors),
            "LCS_FRONT_END": pool,
            "LCS_POOL": pool,
            "LCS_STATE_DIR": str(self.slot("")),
        }
        self._start(pool, "frontend", port, settings)
        return f"http://127.0.0.1:{port}"

    def states(self) -> list[dict[str, Any]]:
        found = []
        for url in self.urls():
            with contextlib.suppress(httpx.TransportError):
                found.append(httpx.get(f"{url}/readyz", timeout=10, trust_env=False).json())
        return found

    # Workers

    def worker(self, number: int = 1) -> Process:
        """Return a worker's process."""
        return self.processes[f"archiving-{number}"]

    def start_broken_worker(self, patch: str) -> Process:
        """Start a worker in whose process some Python runs first, to break it at a chosen point."""
        program = f"{patch}\nfrom archiving.__main__ import main; import sys; sys.argv[1:] = []; main()"
        environment = {
            "LCS_DATABASE_URL": self._database_address("archiving"),
            "LCS_AMQP_URL": self._amqp_address("archiving"),
            "LCS_PORT": str(find_free_port()),
        }
        process = Process("broken", [sys.executable, "-c", program], self.folder / "processes", environment)
        self.processes["broken"] = process
        return process

    def end_worker(self, number: int = 1, how: signal.Signals = signal.SIGKILL) -> int:
        """End a worker; return its exit code."""
        return self.processes.pop(f"archiving-{number}").stop(how)

    def worker_urls(self) -> Sequence[str]:
        workers = [name for name in self.processes if name.startswith("archiving-")]
        return [f"http://127.0.0.1:{self._ports.take(name)}" for name in workers]

    # The broker

    def broker_addresses(self) -> Sequence[str]:
        return [self.node.url("operator", self.tokens["rabbitmq-operator"], "lcs")]

    def ended(self) -> str:
        log = self.watch()
        return "" if log is None else log.stem

    def kill_broker(self) -> None:
        self.node.kill()

    def start_broker(self) -> None:
        self.node.start()

    def freeze_broker(self) -> None:
        self.node.pause()

    def thaw_broker(self) -> None:
        self.node.resume()

    def kill_and_start(self, part: str) -> None:
        if part == "front end":
            self.front_end().kill()
            self.restart_front_end()
        elif part == "worker":
            self.end_worker()
            self.start_worker("archiving-1")
        else:
            self.server.kill()
            self.server.start()

    # The database

    @contextlib.contextmanager
    def session(self) -> Iterator[psycopg.Connection]:
        with psycopg.connect(self.server.url(database=DATABASE), autocommit=True) as connection:
            yield connection


ProcessCase = Case[Processes]
"""A case on processes."""
