"""What the tests of the front end share: a front end's process, a client of it, and what it published."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from contract.message import IM_TYPE, decode_ims
from deploy.local.process import NO_TLS, Process, find_free_port
from runtime.token import hash_token
from tests.conftest import Delivery
from tests.openapi import Documented, front_end_document

IM = {"sender": "yannis@contoso.com", "recipients": ["administrator@contoso.com"], "body": "hello"}
TOKEN = {"Authorization": "Bearer secret"}
GATEWAY = {"Authorization": "Bearer gateway"}
"""Of the connector that verifies who sends from other domains."""
NDJSON = {"Content-Type": "application/x-ndjson"}


class FrontEnd:
    """A front end's process and a client of it."""

    def __init__(
        self, folder: Path, amqp_url: str, under: Sequence[str] = (), patch: str = "", **settings: str
    ) -> None:
        """``under``: a command that runs it; ``patch``: Python that runs in its process first."""
        connectors = [
            {"name": name, "hash": hash_token(token), "pool": pool, "domains": ["contoso.com"], **rights}
            for name, token, pool, rights in (
                ("c", "secret", "pool1", {}),
                ("gateway", "gateway", "pool1", {"gateway_for": ["*"]}),
                ("other", "other", "pool2", {}),
            )
        ]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "connectors.json").write_text(json.dumps(connectors))
        self.port = find_free_port()
        self.folder = folder
        environment = {
            "LCS_AMQP_URL": amqp_url,
            "LCS_CONNECTORS_FILE": str(folder / "connectors.json"),
            "LCS_STATE_DIR": str(folder / "state"),
            "LCS_PORT": str(self.port),
            "LCS_FRONT_END": "fe1",
            **settings,
        }
        program = f"{patch}\nfrom frontend.__main__ import main; main()"
        self.process = Process("frontend", [*under, sys.executable, "-c", program], folder, environment)
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            headers=TOKEN,
            timeout=30,
            trust_env=False,
            verify=NO_TLS,
            event_hooks={"response": [Documented(front_end_document)]},
        )
        self.process.wait_until(lambda: self._get("/healthz") == httpx.codes.OK)

    def _get(self, path: str) -> int:
        try:
            return self.http.get(path).status_code
        except httpx.TransportError:
            return 0

    @property
    def connections(self) -> int:
        """How many connections for IMs it has had."""
        lines = self.process.log.read_text().splitlines()
        return sum('"connected to the broker"' in line and '"lcslog"' in line for line in lines)

    def wait_until_ready(self) -> None:
        """Return when the broker takes IMs: a pool that isn't critical is ready before."""
        self.process.wait_until(self._takes_ims)

    def _takes_ims(self) -> bool:
        answer = self.http.get("/readyz")
        return answer.status_code == httpx.codes.OK and bool(answer.json()["state"] == "normal")

    def post(self, document: object, **headers: str) -> httpx.Response:
        """Send one IM."""
        return self.http.post("/v1/messages", json=document, headers=headers)

    def stream(self, lines: list[bytes]) -> list[dict[str, Any]]:
        """Send a stream, return its answers."""
        response = self.http.post("/v1/messages", content=b"\n".join(lines), headers=NDJSON)
        assert response.status_code == httpx.codes.OK
        return [json.loads(line) for line in response.content.splitlines()]


def ims_of(deliveries: list[Delivery]) -> list[Any]:
    """Return the IMs of what was taken from the queue."""
    return [im for d in deliveries if d.properties.type == IM_TYPE for im in decode_ims(d.body)]


def resident_bytes(front_end: FrontEnd) -> int:
    """Return the most memory that the process ever had."""
    status = Path(f"/proc/{front_end.process.popen.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
