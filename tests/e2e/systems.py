"""The whole stack in its two forms, processes and containers, as the scenarios see it."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import docker
import httpx
from docker.models.containers import Container

from deploy.local.edge import LocalEdge
from deploy.local.process import find_free_port, wait_for
from deploy.local.stack import Stack

_ROOT = Path(__file__).parent.parent.parent
_PORTS = (
    *("PORT", "ADMIN_PORT", "RABBITMQ_MANAGEMENT_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT"),
    *("SIP_PORT", "SIP_TLS_PORT", "SIP_WEBSOCKET_PORT"),
)
_ADD_PRINCIPAL = """
import json, pathlib, sys
path = pathlib.Path(sys.argv[1], "admin-api/principals.json")
principals = [*json.loads(path.read_text()), json.loads(sys.argv[2])]
path.chmod(0o600)
path.write_text(json.dumps(principals))
path.chmod(0o444)
"""
_PEOPLE = ("administrator", "compliance", "operator", "connector")


class System(Protocol):
    """A running stack, and what may befall it."""

    @property
    def front_end_urls(self) -> Sequence[str]:
        """Where chat systems send IMs: every front end, or the proxy before them."""

    @property
    def admin_url(self) -> str:
        """Where the admin API is."""

    @property
    def tokens(self) -> Mapping[str, str]:
        """Person to token."""

    def secret(self, name: str) -> str:
        """Return a secret, as an operator would."""

    def front_ends(self) -> set[str]:
        """Return the names of the front ends that run."""

    def grow(self) -> None:
        """Start one more front end and one more archiving worker; return when they are ready."""

    def kill_workers(self) -> None:
        """End the archiving workers at once (SIGKILL)."""

    def start_workers(self) -> None:
        """Start the archiving workers again."""

    def logs(self) -> str:
        """Return what all our services logged."""

    def stop_broker(self) -> None:
        """Stop the broker in order."""

    def start_broker(self) -> None:
        """Start the broker again; return when it serves."""

    def restart(self) -> None:
        """End everything in order, as a person would, and start it again."""

    def add_principal(self, principal: Mapping[str, object]) -> None:
        """Add an entry to the admin API's ``principals.json`` by hand; it is read at the next start."""


class Processes:
    """The stack of ``make up``."""

    def __init__(self, folder: Path) -> None:
        """Nothing starts yet."""
        self.stack = Stack(folder, sip=LocalEdge.is_installed(), say=lambda _: None, environment={})

    @property
    def front_end_urls(self) -> Sequence[str]:
        return self.stack.front_end_urls

    @property
    def admin_url(self) -> str:
        return self.stack.admin_url

    @property
    def tokens(self) -> Mapping[str, str]:
        return self.stack.tokens

    def secret(self, name: str) -> str:
        return (self.stack.folder / "secrets" / name).read_text()

    def front_ends(self) -> set[str]:
        return {name for name in self.stack.processes if name.startswith("fe")}

    def grow(self) -> None:
        self.stack.start_front_end(f"fe{len(self.front_ends()) + 1}")
        self.stack.start_worker(f"archiving-{len(self._workers()) + 1}")

    def kill_workers(self) -> None:
        for name in self._workers():
            self.stack.processes[name].kill()

    def start_workers(self) -> None:
        for name in self._workers():
            self.stack.start_worker(name)

    def _workers(self) -> list[str]:
        return [name for name in self.stack.processes if name.startswith("archiving-")]

    def logs(self) -> str:
        return "".join(process.log.read_text() for process in self.stack.processes.values())

    def stop_broker(self) -> None:
        assert self.stack.broker is not None
        self.stack.broker.stop()

    def start_broker(self) -> None:
        assert self.stack.broker is not None
        self.stack.broker.start()

    def restart(self) -> None:
        grown = [*self.stack.processes]
        self.stack.stop()
        self.stack.start()
        for name in grown:  # what a stack does not start by itself
            if name not in self.stack.processes:
                start = self.stack.start_front_end if name.startswith("fe") else self.stack.start_worker
                start(name)

    def add_principal(self, principal: Mapping[str, object]) -> None:
        secrets = str(self.stack.folder / "secrets")
        subprocess.run([sys.executable, "-c", _ADD_PRINCIPAL, secrets, json.dumps(principal)], check=True)


@contextmanager
def running_processes(folder: Path) -> Iterator[Processes]:
    """Run the stack as processes, on a broker and a database of its own."""
    system = Processes(folder)
    try:
        system.stack.start()
        yield system
    finally:
        system.stack.clean()  # at once: nothing of it is needed any more
        system.stack.stop()


class Containers:
    """The stack of ``docker compose up``, as a project of its own on free ports."""

    def __init__(self, *overlays: str) -> None:
        """Nothing starts yet; ``overlays`` are Compose files on top of docker-compose.yml.

        Raises docker.errors.DockerException if no engine answers.
        """
        self.engine = docker.from_env(timeout=120)
        self.engine.ping()
        self.project = f"lcs-test-{secrets.token_hex(4)}"
        ports = {name: find_free_port() for name in _PORTS}
        self._environment = {
            k: v for k, v in os.environ.items() if not k.startswith(("LCS_", "COMPOSE_"))
        } | {f"LCS_{name}": str(port) for name, port in ports.items()}
        self._environment["COMPOSE_PROJECT_NAME"] = self.project
        self._use("docker-compose.yml", *overlays)
        if not self._has_image("grafana"):
            self._use("docker-compose.yml", *overlays, "tests/e2e/without-grafana.yml")
        self.front_end_urls: Sequence[str] = [f"http://127.0.0.1:{ports['PORT']}"]
        self.admin_url = f"http://127.0.0.1:{ports['ADMIN_PORT']}"
        self.prometheus_url = f"http://127.0.0.1:{ports['PROMETHEUS_PORT']}"
        self.tokens: Mapping[str, str] = {}
        self._scale = {"frontend": 2, "archiving": 1}

    def _use(self, *files: str) -> None:
        self._environment["COMPOSE_FILE"] = os.pathsep.join(str(_ROOT / file) for file in files)

    def run(self, command: list[str], folder: Path = _ROOT, seconds: float = 120) -> str:
        """Run a command in a folder, for which ``docker compose`` is this project; return what it prints.

        Raises RuntimeError with the last words of an error.
        """
        done = subprocess.run(
            command,
            cwd=folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
        return done.stdout

    def compose(self, *arguments: str, seconds: float = 120) -> str:
        """Run ``docker compose``; return what it prints. Raises RuntimeError."""
        return self.run(["docker", "compose", *arguments], seconds=seconds)

    def start(self) -> None:
        """Start everything; return when all is healthy."""
        self.up()
        self.tokens = {person: self.secret(f"people/{person}") for person in _PEOPLE}

    def up(self, *arguments: str) -> None:
        """``docker compose up``: builds images that changed, returns when all is healthy."""
        scale = [f"--scale={service}={number}" for service, number in self._scale.items()]
        self.compose("up", "--detach", "--wait", "--wait-timeout", "300", *scale, *arguments, seconds=900)

    def _has_image(self, service: str) -> bool:
        services = json.loads(self.compose("config", "--format", "json"))["services"]
        try:
            self.engine.images.get(services[service]["image"])
        except docker.errors.ImageNotFound:
            return False
        return True

    def secret(self, name: str) -> str:
        return self.compose("run", "--rm", "--no-deps", "-T", "credentials", "cat", f"/secrets/{name}")

    def containers(self, service: str | None = None) -> list[Container]:
        """Return the containers of a service, by default of all."""
        labels = [f"com.docker.compose.project={self.project}"]
        labels += [f"com.docker.compose.service={service}"] if service else []
        found: list[Container] = self.engine.containers.list(filters={"label": labels})
        return found

    def front_ends(self) -> set[str]:
        return {container.attrs["Config"]["Hostname"] for container in self.containers("frontend")}

    def grow(self) -> None:
        self._scale = {service: number + 1 for service, number in self._scale.items()}
        self.up("--no-recreate", "--no-build")
        names = self.front_ends()
        wait_for(lambda: self._answering() >= names, "the proxy to find the new front end")

    def _answering(self) -> set[str]:
        """Return the names of the front ends that the proxy hands some requests to."""
        url = f"{self.front_end_urls[0]}/readyz"
        answers = (httpx.get(url, timeout=5, trust_env=False) for _ in range(8))
        return {answer.json()["front_end"] for answer in answers if answer.status_code == httpx.codes.OK}

    def kill_workers(self) -> None:
        for container in self.containers("archiving"):
            container.kill()

    def start_workers(self) -> None:
        self.up("--no-recreate", "--no-build")

    def logs(self) -> str:
        return self.compose("logs", "--no-log-prefix", "frontend", "archiving", "admin-api")

    def stop_broker(self) -> None:
        self.compose("stop", "rabbitmq")

    def start_broker(self) -> None:
        self.compose("start", "--wait", "rabbitmq")

    def restart(self) -> None:
        self.compose("down", "--timeout", "30")
        self.up()

    def add_principal(self, principal: Mapping[str, object]) -> None:
        program = ("python", "-c", _ADD_PRINCIPAL, "/secrets", json.dumps(principal))
        self.compose("run", "--rm", "--no-deps", "-T", "credentials", *program)

    def stop(self) -> None:
        """Remove everything, data included."""
        self.compose("down", "--volumes", "--timeout", "0", "--remove-orphans")
        self.engine.close()
