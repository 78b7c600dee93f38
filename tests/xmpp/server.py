"""Two chat servers that talk to each other: one of ours beside a stack, and a partner's."""

import asyncio
import re
import secrets
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import docker
import trustme

from deploy.local.process import find_free_port, wait_for
from tests.xmpp.people import COMPONENT_SECRET, SECONDS, Client, Component, Person

_ROOT = Path(__file__).parent.parent.parent
_IMAGE = "lcs-archive/prosody:test"
_HOST = "127.0.0.1"
_CONFIGURATION = """\
data_path = "/tmp/prosody"
pidfile = "/tmp/prosody.pid"
log = {{ {{ levels = {{ min = "info" }}, to = "console" }} }}
plugin_paths = {{ "/module" }}
interfaces = {{ "{host}" }}
c2s_ports = {{ {ports[c2s]} }}
s2s_ports = {{ {ports[s2s]} }}
component_ports = {{ {ports[component]} }}
c2s_require_encryption = false
s2s_secure_auth = true
ssl = {{ key = "/secrets/key"; certificate = "/secrets/certificate"; cafile = "/secrets/authority" }}
allow_unencrypted_plain_auth = true
authentication = "internal_plain"
modules_enabled = {{ "roster", "saslauth", "disco", "carbons", "offline", "tls", "s2s_bidi", "pep", "mam" }}
unbound = {{ options = {{
    ["local-zone:"] = ". redirect"; -- who isn't here is at the other server
    ["local-data:"] = ". IN SRV 0 0 {other_port} localhost.";
}} }}
"""
_OURS = """\
lcs_archive_url = "{url}/v1/messages"
lcs_archive_token_file = "/secrets/token"
VirtualHost "contoso.com"
    modules_enabled = {{ "lcs_archive" }}
VirtualHost "bücher.example"
    modules_enabled = {{ "lcs_archive" }}
    lcs_archive_allow_past = true
Component "rooms.contoso.com" "muc"
    modules_enabled = {{ "lcs_archive", "muc_mam" }}
    muc_room_locking = false
Component "litware.com"
    modules_enabled = {{ "lcs_archive" }}
    component_secret = "{secret}"
Component "bot.litware.com"
    modules_enabled = {{ "lcs_archive" }}
    component_secret = "{secret}"
"""
_PARTNERS = """\
VirtualHost "fabrikam.com"
VirtualHost "müller.example"
VirtualHost "northwind.com"
    modules_disabled = { "s2s_bidi" }
"""
_HOST_NAME = re.compile('^(?:VirtualHost|Component) "([^"]+)"', re.MULTILINE)
_COMPONENTS = ("litware.com", "bot.litware.com")
_OUR_DOMAINS = ("contoso.com", "bücher.example")


def build_image(engine: docker.DockerClient) -> None:
    """Build the servers' image."""
    engine.images.build(path=str(_ROOT), dockerfile="tests/xmpp/prosody.Dockerfile", tag=_IMAGE, rm=True)


class Server:
    """A chat server."""

    def __init__(self, engine: docker.DockerClient, folder: Path, ports: dict[str, int]) -> None:
        """``folder``: with its configuration; ``ports``: where it listens."""
        self.ports = ports
        module = _ROOT / "deploy" / "prosody"
        self.container = engine.containers.run(
            _IMAGE,
            ["sh", "-c", "mkdir -p /tmp/prosody && exec prosody --config /secrets/prosody.cfg.lua -F"],
            detach=True,
            network_mode="host",
            volumes={
                str(folder): {"bind": "/secrets", "mode": "ro"},
                str(module): {"bind": "/module", "mode": "ro"},
            },
        )

    def wait(self) -> None:
        """Return when it listens."""
        wait_for(lambda: b"Activated service 'c2s'" in self.container.logs(), "Prosody to listen")

    async def register(self, user: str, domain: str) -> str:
        """Make an account; return its password."""
        password = secrets.token_hex(8)
        register = ["prosodyctl", "--config", "/secrets/prosody.cfg.lua", "register", user, domain, password]
        done = await asyncio.to_thread(self.container.exec_run, register)
        assert done.exit_code == 0, done.output
        return password


class Prosody:
    """A chat server for contoso.com beside a stack, and a partner's: both talk to each other."""

    def __init__(self, engine: docker.DockerClient, folder: Path, url: str, token: str) -> None:
        """``url`` and ``token``: of the stack."""
        ports = [{kind: find_free_port() for kind in ("c2s", "s2s", "component")} for _ in range(2)]
        hosts = (_OURS.format(url=url, secret=COMPONENT_SECRET), _PARTNERS)
        authority = trustme.CA()
        self.servers: list[Server] = []
        for number in range(2):
            secrets_folder = folder / str(number)
            secrets_folder.mkdir()
            (secrets_folder / "token").write_text(token)
            authority.cert_pem.write_to_path(secrets_folder / "authority")
            certificate = authority.issue_cert(*_HOST_NAME.findall(hosts[number]))
            certificate.private_key_pem.write_to_path(secrets_folder / "key")
            certificate.cert_chain_pems[0].write_to_path(secrets_folder / "certificate")
            common = _CONFIGURATION.format(
                host=_HOST, ports=ports[number], other_port=ports[1 - number]["s2s"]
            )
            (secrets_folder / "prosody.cfg.lua").write_text(common + hosts[number], encoding="utf-8")
            self.servers.append(Server(engine, secrets_folder, ports[number]))
        for server in self.servers:
            server.wait()

    def stop(self) -> None:
        """Remove both servers."""
        for server in self.servers:
            server.container.remove(force=True)

    @asynccontextmanager
    async def people(self, *names: str) -> AsyncIterator[list[Person]]:
        """New people, logged in; of contoso.com unless a name says otherwise.

        ``@domain`` is a component that speaks itself.
        """
        ours, partners = self.servers
        people: list[Person] = []
        for name in names:
            one, _, domain = (name if "@" in name else f"{name}@contoso.com").partition("@")
            user = f"{one}-{uuid.uuid4().hex[:8]}"
            if domain in _COMPONENTS:
                server, service = ours, "component"
                person: Client | Component = Component(f"{user}@{domain}" if one else domain)
            else:
                server, service = ours if domain in _OUR_DOMAINS else partners, "c2s"
                person = Client(f"{user}@{domain}", await server.register(user, domain))
            started = asyncio.get_running_loop().create_future()
            person.add_event_handler("session_start", lambda _, it=started: it.done() or it.set_result(None))
            await person.connect(_HOST, server.ports[service])
            await asyncio.wait_for(started, SECONDS)
            if isinstance(person, Client):
                person.send_presence()
            people.append(person)
        try:
            yield people
        finally:
            for each in people:
                await each.disconnect()
