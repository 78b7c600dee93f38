"""The SIP edge as a process, where the distribution's Kamailio will do."""

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from deploy.kamailio.edge import check
from deploy.local.ports import Ports
from deploy.local.process import Process

MODULES: Final = ("kamailio-extra-modules", "kamailio-tls-modules", "kamailio-websocket-modules")
"""The packages beside ``kamailio`` itself."""
_SCRIPT: Final = Path(__file__).parent.parent / "kamailio" / "edge.py"
_HOST: Final = "127.0.0.1"


class LocalEdge:
    """An edge on loopback, for UDP, TCP and WebSocket. The chat page is in the image alone: npm builds it."""

    def __init__(
        self,
        folder: Path,
        *,
        hook: str,
        secrets: Path,
        domains: str,
        ports: Ports,
        settings: Mapping[str, str],
    ) -> None:
        """``folder``: for logs and Kamailio's files; ``hook``: a front end's ``/v1/sip``. Starts it.

        Raises StartError.
        """
        self.port, websocket_port = ports.take("edge", 5060), ports.take("edge-websocket", 8088)
        metrics_port = ports.take("edge-metrics", 9273)
        self.websocket_url = f"ws://{_HOST}:{websocket_port}"
        self.process = Process(
            "edge",
            [sys.executable, _SCRIPT],
            folder,
            {
                **settings,
                "LCS_SECRETS_DIR": str(secrets),
                "LCS_SIP_HOOK": hook,
                "LCS_SIP_DOMAINS": domains,
                "LCS_SIP_PORT": str(self.port),
                "LCS_SIP_WEBSOCKET_PORT": str(websocket_port),
                "LCS_SIP_METRICS_PORT": str(metrics_port),
                "LCS_SIP_RUN_DIR": str(folder / "edge"),
            },
        )
        self.process.wait_until(lambda: check(_HOST, self.port), seconds=30)

    @property
    def address(self) -> tuple[str, int]:
        """Where SIP clients find it."""
        return _HOST, self.port

    @staticmethod
    def is_installed() -> bool:
        """Return True if Kamailio 6.0 or newer is on this machine."""
        program = shutil.which("kamailio") or "/usr/sbin/kamailio"
        if not Path(program).exists():
            return False
        said = subprocess.run([program, "-v"], capture_output=True, text=True, check=False).stdout
        version = re.search(r"kamailio (\d+)", said)
        return version is not None and int(version[1]) >= 6
