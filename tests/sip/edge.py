"""A SIP edge in a container beside the stack's processes, and sipp, a client that we didn't write."""

import contextlib
import hashlib
import json
import re
import secrets
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import docker
import httpx
import trustme
from docker.models.containers import Container

from deploy.local.process import find_free_port, wait_for

_ROOT = Path(__file__).parent.parent.parent
_EDGE_IMAGE = "lcs-archive/edge:test"
CLIENTS_IMAGE = "lcs-archive/sip-clients:test"
HOST = "127.0.0.1"
GATEWAY = "127.0.0.2"
"""Where requests come from that need no password."""
_NAMES = [
    f"{name}{number}" for number in range(500) for name in ("yannis", "ada", "grace-ada", "+1425555", "d'art")
]
"""Each test has people of its own: nobody is registered at a client that is gone."""


class Edge:
    """One edge, on the network of this host."""

    def __init__(self, engine: docker.DockerClient, folder: Path, domain: str) -> None:
        """``folder``: for what it is given. Nothing starts yet."""
        self.engine = engine
        self.domain = domain
        self.port, self.tls_port, self.websocket_port, self.metrics_port = (
            find_free_port() for _ in range(4)
        )
        self.folder = folder
        self._key = secrets.token_bytes(16)
        self._container: Container | None = None
        folder.mkdir(parents=True)

    def certify(self, authority: trustme.CA) -> None:
        """Give it a certificate for its domain, and have it trust who is certified by the same authority."""
        issued = authority.issue_cert(self.domain)
        issued.private_key_pem.write_to_path(self.folder / "key.pem")
        issued.cert_chain_pems[0].write_to_path(self.folder / "certificate.pem")
        authority.cert_pem.write_to_path(self.folder / "authorities.pem")

    def start(self, hook: str, token: str, **settings: str) -> None:
        """Start it, and wait until it answers. ``settings``: further ones of its environment."""
        (self.folder / "token").write_text(token)
        (self.folder / "users.json").write_text(json.dumps([self._user(name) for name in _NAMES]))
        environment = {
            "LCS_SIP_DOMAINS": self.domain,
            "LCS_SIP_HOOK": hook,
            "LCS_SIP_PORT": str(self.port),
            "LCS_SIP_TLS_PORT": str(self.tls_port),
            "LCS_SIP_WEBSOCKET_PORT": str(self.websocket_port),
            "LCS_SIP_METRICS_PORT": str(self.metrics_port),
            "LCS_SIP_CERTIFICATE": "/run/secrets/certificate.pem",
            "LCS_SIP_KEY": "/run/secrets/key.pem",
            "LCS_SIP_AUTHORITIES": "/run/secrets/authorities.pem",
            "LCS_SIP_TRUSTED": GATEWAY,
            **settings,
        }
        self._container = self.engine.containers.run(
            _EDGE_IMAGE,
            detach=True,
            network_mode="host",
            environment=environment,
            volumes={str(self.folder): {"bind": "/run/secrets", "mode": "ro"}},
        )
        wait_for(lambda: self._answers() or self._has_ended(), "the SIP edge to answer", seconds=60)
        if self._has_ended():
            raise RuntimeError(f"the edge ended: {self.logs()[-2000:]}")

    def _answers(self) -> bool:
        check = ["python3", "/opt/lcs/kamailio/edge.py", "check"]
        return bool(self._running.exec_run(check).exit_code == 0)

    def _has_ended(self) -> bool:
        self._running.reload()
        return bool(self._running.status == "exited")

    @property
    def _running(self) -> Container:
        assert self._container is not None
        return self._container

    @property
    def pid(self) -> int:
        """Kamailio's main process, as this host knows it."""
        self._running.reload()
        return int(self._running.attrs["State"]["Pid"])

    def logs(self) -> str:
        """Return what it logged."""
        return str(self._running.logs().decode())

    def asked(self, answer: str) -> int:
        """Return how often a front end gave an answer, as Prometheus is told; ``none``: it gave none."""
        return self._counted(rf'front_end_answers_total\{{answer="{answer}"\}}')

    def refused_logins(self) -> int:
        """Return how many logins it refused, as Prometheus is told."""
        return self._counted("refused_logins_total")

    def _counted(self, name: str) -> int:
        told = httpx.get(f"http://{HOST}:{self.metrics_port}/metrics", trust_env=False)
        found = re.search(rf"^kamailio_{name} (\d+)", told.raise_for_status().text, re.MULTILINE)
        return int(found[1]) if found else 0

    def _user(self, name: str) -> dict[str, str]:
        address = f"{name}@{self.domain}"
        secret = f"{name}:{self.domain}:{self.password_of(address)}"
        return {"address": address, "ha1": hashlib.md5(secret.encode()).hexdigest()}  # noqa: S324 - RFC 7616

    def password_of(self, address: str) -> str:
        """Return somebody's password."""
        return hashlib.blake2b(address.encode(), key=self._key, digest_size=8).hexdigest()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Have it stand still meanwhile."""
        self._running.pause()
        try:
            yield
        finally:
            self._running.unpause()

    def stop(self) -> None:
        """Remove it."""
        if self._container is not None:
            self._container.remove(force=True)


class Sipp:
    """Runs scenarios with sipp, in one container."""

    def __init__(self, engine: docker.DockerClient, folder: Path) -> None:
        """``folder``: for scenarios and logs."""
        self._engine = engine
        self._folder = folder
        self._answering: list[str] = []
        """The engine's names of those that answer."""
        self._container: Container = engine.containers.run(
            CLIENTS_IMAGE,
            ["sleep", "infinity"],
            detach=True,
            network_mode="host",
            volumes={str(folder): {"bind": "/work", "mode": "rw"}},
        )

    def run(self, scenario: str, port: int, *arguments: str) -> None:
        """Run a scenario against a port, to its end. Raises AssertionError if it went otherwise."""
        command = self._command(scenario, f"{HOST}:{port}", "-m", "1", "-timeout", "30", *arguments)
        code, said = self._container.exec_run(command, workdir="/work")
        assert isinstance(said, bytes)  # it is not told to be a stream
        assert code == 0, f"sipp ended with {code}: {said.decode()[-3000:]}"

    def answer(self, scenario: str, *arguments: str) -> tuple[int, Path]:
        """Start what answers until ``hang_up``; return its port, and the log of what it was told."""
        port = find_free_port()
        log = self._folder / f"{port}.log"
        log.write_text("")
        own = ("-p", str(port), "-trace_logs", "-log_file", f"/work/{log.name}")
        command = self._command(scenario, *own, *arguments)
        name = self._engine.api.exec_create(self._container.id, command, workdir="/work")["Id"]
        self._engine.api.exec_start(name, detach=True)
        self._answering.append(name)
        return port, log

    def _command(self, scenario: str, *arguments: str) -> list[str]:
        path = self._folder / f"{secrets.token_hex(4)}.xml"
        path.write_text(scenario)
        return ["sipp", "-sf", f"/work/{path.name}", "-i", HOST, "-nostdin", *arguments]

    @property
    def pids(self) -> list[int]:
        """The processes of those that answer, as this host knows them."""
        return [self._engine.api.exec_inspect(name)["Pid"] for name in self._answering]

    def hang_up(self) -> None:
        """End what still answers."""
        if self._answering:
            self._container.exec_run(["sh", "-c", "kill -KILL -1"])  # all but the container's first process
            self._answering.clear()

    def stop(self) -> None:
        """Remove everything."""
        self._container.remove(force=True)


@contextlib.contextmanager
def agreeing_server() -> Iterator[str]:
    """A hook that agrees to everything, in place of a front end; its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((HOST, 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}/v1/sip"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def build_images(engine: docker.DockerClient) -> None:
    """Build the edge, and the clients."""
    build_image(engine, _EDGE_IMAGE, "deploy/kamailio/Dockerfile")
    build_image(engine, CLIENTS_IMAGE, "tests/sip/clients.Dockerfile")


def build_image(engine: docker.DockerClient, tag: str, dockerfile: str) -> None:
    """Build an image from the repository's root."""
    engine.images.build(path=str(_ROOT), dockerfile=dockerfile, tag=tag, rm=True)


def said_in(log: Path) -> list[str]:
    """Return what a client of ``Sipp.answer`` was told: method and body, a line each."""
    return [line.strip() for line in log.read_text().splitlines() if line.strip()]
