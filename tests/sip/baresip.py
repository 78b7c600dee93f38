"""baresip, a SIP client that we didn't write, in containers."""

import json
import re
from pathlib import Path

import docker
from docker.models.containers import Container

from deploy.local.process import wait_for
from tests.sip.edge import CLIENTS_IMAGE

_CONFIGURATION = """\
sip_listen 0.0.0.0:0
module_path /usr/lib/baresip/modules
module stdio.so
module_app account.so
module_app contact.so
module_app menu.so
module ctrl_tcp.so
"""
_CONTROL_PORT = 4444
_MEDIA = """\
module opus.so
module vp8.so
module ausine.so
module aufile.so
module fakevideo.so
audio_source ausine,400
audio_player aufile,/tmp/heard.wav
audio_alert aufile,/tmp/heard.wav
video_source fakevideo,it
video_display fakevideo,it
"""


class Baresip:
    """Somebody's client, registered."""

    def __init__(
        self,
        engine: docker.DockerClient,
        folder: Path,
        address: str,
        password: str,
        *,
        peer: str,
        proxy: str,
        network: str,
        control: str = "127.0.0.1",
        calls: bool = False,
    ) -> None:
        """``folder``: for its settings; ``peer``: the contact; ``proxy``: the edge, as ``sip:host:port``.

        ``control``: an address of its loopback, its own where it shares a network; ``calls``: it has sound
        and pictures, and answers at once.
        """
        folder.mkdir()
        self._control = control
        account = f'<sip:{address}>;auth_pass={password};outbound="{proxy};transport=tcp";regint=600'
        configuration = f"{_CONFIGURATION}ctrl_tcp_listen {control}:{_CONTROL_PORT}\n"
        if calls:
            account += ";answermode=auto"
            configuration += _MEDIA
        contact = f'"Peer" <sip:{peer}>'
        for name, text in (("accounts", account), ("config", configuration), ("contacts", contact)):
            (folder / name).write_text(text + "\n")
        self._container: Container = engine.containers.run(
            CLIENTS_IMAGE,
            ["baresip", "-f", "/settings"],
            detach=True,
            tty=True,
            stdin_open=True,
            network=network,
            volumes={str(folder): {"bind": "/settings", "mode": "rw"}},
        )
        wait_for(lambda: "registered successfully" in self.said(), f"{address} to be registered")

    def said(self) -> str:
        """Return what it shows."""
        return str(self._container.logs().decode())

    def send(self, text: str) -> None:
        """Have it write to the contact (baresip's module ctrl_tcp: netstrings of JSON)."""
        self._command({"command": "contact_next"}, {"command": "message", "params": text})

    def call(self, address: str) -> None:
        """Have it call somebody."""
        self._command({"command": "dial", "params": f"sip:{address}"})

    def hang_up(self) -> None:
        """Have it end its call."""
        self._command({"command": "hangup"})

    def _command(self, *requests: dict[str, str]) -> None:
        lines = [json.dumps(request) for request in requests]
        script = f'exec 3<>/dev/tcp/{self._control}/{_CONTROL_PORT}; printf %s "$1" >&3; head -c 20 <&3'
        stream = "".join(f"{len(line.encode())}:{line}," for line in lines)
        said = self._container.exec_run(["bash", "-c", script, "-", stream]).output
        assert isinstance(said, bytes)
        assert re.match(rb"\d+:{", said), f"no answer to {lines}: {said!r}"

    def stop(self) -> None:
        """Remove it."""
        self._container.remove(force=True)
