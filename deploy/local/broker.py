"""A private RabbitMQ node on free loopback ports, made from the distribution's packages."""

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from deploy.credentials import read_definitions
from deploy.local.ports import Ports
from deploy.local.process import NO_TLS, Process, StartError

_SCRIPTS = Path("/usr/lib/rabbitmq/bin")  # Debian's own; /usr/sbin has wrappers that change the user

_CONFIGURATION = """\
listeners.tcp.1 = 127.0.0.1:{amqp_port}
management.tcp.ip = 127.0.0.1
management.tcp.port = {management_port}
default_user = {user}
default_pass = {password}
default_user_tags.administrator = true
log.file.level = info
disk_free_limit.absolute = 50MB
collect_statistics_interval = 1000
"""


class Broker:
    """One RabbitMQ node with its management API; its data stay in its folder."""

    def __init__(self, folder: Path) -> None:
        """Prepare a node in a folder; nothing starts yet. Its ports are kept there."""
        self.folder = folder
        self._ports = Ports(folder)
        self.amqp_port = self._ports.take("amqp")
        self.management_port = self._ports.take("management")
        self.prometheus_port = self._ports.take("prometheus")
        self._epmd_port = self._ports.take("epmd")
        self._distribution_port = self._ports.take("distribution")
        self._configuration = folder / "rabbitmq.conf"
        self._number = folder / "beam.number"
        self._password = self._known_password() or secrets.token_hex(16)
        self._definitions: list[dict[str, Any]] = []
        self.process: Process | None = None
        """None: it was not started, or it was stopped."""
        self._epmd: Process | None = None

    def _known_password(self) -> str:
        """Return the one of an earlier start, "" if there was none: a node makes its user with its data."""
        if not self._configuration.exists():
            return ""
        found = re.search(r"^default_pass = (.*)$", self._configuration.read_text(), re.MULTILINE)
        return found[1] if found else ""

    @staticmethod
    def is_installed() -> bool:
        """Return True if the distribution's RabbitMQ is on this machine."""
        return (_SCRIPTS / "rabbitmq-server").exists()

    @property
    def alive(self) -> bool:
        """The node's process runs."""
        return self.process is not None and self.process.alive

    @property
    def management_url(self) -> str:
        """The management API, without credentials."""
        return f"http://127.0.0.1:{self.management_port}"

    def start(self) -> None:
        """Start the node and wait until it serves, with all definitions imported so far. Raises StartError.

        Production imports them at each boot too (deploy/rabbitmq/lcs.conf). RabbitMQ 3.10 writes definitions
        to disk only some time later: a node killed within that time came back without its bindings.
        """
        if not self.is_installed():
            raise StartError("RabbitMQ is not installed: apt-get install rabbitmq-server")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._configuration.write_text(
            _CONFIGURATION.format(
                amqp_port=self.amqp_port,
                management_port=self.management_port,
                user="setup",
                password=self._password,
            )
        )
        (self.folder / "enabled_plugins").write_text("[rabbitmq_management,rabbitmq_prometheus].\n")
        self._number.unlink(missing_ok=True)  # of an earlier run: another process may have it by now
        # Erlang's port mapper would start by itself, but as a daemon that nobody stops.
        mapper = shutil.which("epmd") or "epmd"
        self._epmd = Process(
            "epmd", [mapper, "-port", str(self._epmd_port), "-address", "127.0.0.1"], self.folder
        )
        self.process = Process("rabbitmq", [_SCRIPTS / "rabbitmq-server"], self.folder, self._environment())
        self.process.wait_until(self._serves, seconds=120)
        for definitions in self._definitions:
            self.manage("POST", "/api/definitions", definitions)

    def _environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.folder),
            "RABBITMQ_NODENAME": "lcs@localhost",
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(self._configuration),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_PID_FILE": str(self._number),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_CRASH_DUMP": str(self.folder / "log" / "erl_crash.dump"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1}"
                " -rabbit quorum_tick_interval 500"  # ms between counts of messages; by default 5,000
                f' -rabbitmq_prometheus tcp_config [{{ip,"127.0.0.1"}},{{port,{self.prometheus_port}}}]'
            ),
        }

    def _serves(self) -> bool:
        checks = ("virtual-hosts", f"port-listener/{self.amqp_port}")
        try:
            return all(
                self._request("GET", f"/api/health/checks/{check}").status_code == httpx.codes.OK
                for check in checks
            )
        except httpx.TransportError:
            return False

    def _request(self, method: str, path: str, document: object | None = None) -> httpx.Response:
        return httpx.request(
            method,
            self.management_url + path,
            json=document,
            auth=("setup", self._password),
            timeout=30,
            verify=NO_TLS,
        )

    def manage(self, method: str, path: str, document: object | None = None) -> Any:
        """Call the management API (``/api/…``) and return its answer. Raises httpx.HTTPStatusError."""
        response = self._request(method, path, document).raise_for_status()
        return response.json() if response.content else None

    def control(self, *arguments: str) -> None:
        """Run ``rabbitmqctl``, as the management API can't do that. Raises subprocess.CalledProcessError."""
        subprocess.run(
            [_SCRIPTS / "rabbitmqctl", *arguments],
            env=os.environ | self._environment(),
            capture_output=True,
            check=True,
            timeout=60,
        )

    def import_definitions(self, definitions: dict[str, Any]) -> None:
        """Declare vhosts, users, rights, exchanges, queues and policies that are not there yet."""
        self.manage("POST", "/api/definitions", definitions)
        self._definitions.append(definitions)

    def forget_vhost(self, name: str) -> None:
        """Delete a vhost, on a node that runs, and import its definitions no more."""
        self._definitions = [each for each in self._definitions if each["vhosts"] != [{"name": name}]]
        if self.alive:
            self.manage("DELETE", f"/api/vhosts/{quote(name, safe='')}")

    def url(self, user: str, password: str, vhost: str) -> str:
        """Return the AMQP address for a user and a vhost."""
        return f"amqp://{quote(user)}:{quote(password)}@127.0.0.1:{self.amqp_port}/{quote(vhost, safe='')}"

    def stop(self) -> None:
        """Stop the node in order; its data stay."""
        if self.process is not None and self.process.alive:
            # Without a number it has only begun to start, and nobody would end it.
            with contextlib.suppress(OSError, ValueError, subprocess.TimeoutExpired):
                os.kill(int(self._number.read_text()), signal.SIGTERM)
                self.process.popen.wait(30)
        self.kill()
        self._ports.release()

    def kill(self) -> None:
        """Kill the node as a power cut would; its data stay."""
        for process in (self.process, self._epmd):
            if process is not None:
                process.kill()
        self.process = self._epmd = None

    def pause(self) -> None:
        """Freeze the node (SIGSTOP)."""
        if self.process is not None:
            self.process.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen node go on."""
        if self.process is not None:
            self.process.send(signal.SIGCONT)


def definitions_for(vhost: str, users: list[dict[str, Any]]) -> dict[str, Any]:
    """Return deploy/rabbitmq/definitions.json for a vhost, with users (``name``, ``password_hash``, …)."""
    definitions = read_definitions(user["name"] for user in users)
    for kind in ("permissions", "exchanges", "queues", "bindings", "policies"):
        for entry in definitions[kind]:
            entry["vhost"] = vhost
    return definitions | {"vhosts": [{"name": vhost}], "users": users}
