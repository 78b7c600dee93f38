"""Prosody asks a front end before it delivers: the real server, with a real XMPP client."""

import asyncio
import secrets
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import docker
import httpx
import pytest
import slixmpp
import trustme

from deploy.local.process import find_free_port, wait_for
from tests.e2e.systems import Processes

pytestmark = pytest.mark.containers

_ROOT = Path(__file__).parent.parent.parent
_IMAGE = "lcs-archive/prosody:test"
_HOST = "127.0.0.1"
_SECONDS = 30
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
modules_enabled = {{ "roster", "saslauth", "disco", "carbons", "offline", "tls", "s2s_bidi" }}
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
Component "rooms.contoso.com" "muc"
    modules_enabled = {{ "lcs_archive" }}
    muc_room_locking = false
Component "litware.com"
    modules_enabled = {{ "lcs_archive" }}
    component_secret = "{secret}"
"""
_PARTNERS = """\
VirtualHost "fabrikam.com"
VirtualHost "northwind.com"
    modules_disabled = { "s2s_bidi" }
"""
_SECRET = "between us"


class Person(slixmpp.BaseXMPP):
    """Somebody who talks; what it is told is in ``told``."""

    def listen(self) -> None:
        """Note what it is told."""
        self.register_plugin("xep_0045")
        self.register_plugin("xep_0085")
        self.register_plugin("xep_0280")
        self.told: asyncio.Queue[Any] = asyncio.Queue()
        for event in ("message", "message_error", "chatstate_composing"):
            self.add_event_handler(event, self.told.put_nowait)

    def say(self, to: str, text: str, kind: Literal["chat", "groupchat"] = "chat") -> None:
        """Send a message."""
        self.send_message(slixmpp.JID(to), text, mtype=kind, mfrom=self.boundjid)

    def say_in_xml(self, to: str, content: str, kind: str = "chat") -> None:
        """Send a message of this XML."""
        self.send_raw(f'<message from="{self.boundjid}" to="{to}" type="{kind}">{content}</message>')

    async def next(self) -> Any:
        """Return the next stanza that it is told."""
        return await asyncio.wait_for(self.told.get(), _SECONDS)

    async def hear(self, text: str) -> Any:
        """Return the stanza with this text; what comes before is left out."""
        while (told := await self.next())["body"] != text:
            pass
        return told

    async def join(self, room: str) -> None:
        """Enter a room, where its name is its user's name."""
        await self.plugin["xep_0045"].join_muc_wait(
            slixmpp.JID(room),
            str(self.boundjid.user),
            maxstanzas=0,
            presence_options={"pfrom": self.boundjid},
            timeout=_SECONDS,
        )


class Client(Person, slixmpp.ClientXMPP):
    """Somebody's client."""

    def __init__(self, address: str, password: str) -> None:
        super().__init__(f"{address}/one", password)
        self.enable_plaintext, self.enable_starttls, self.enable_direct_tls = True, False, False
        self.plugin["feature_mechanisms"].unencrypted_plain = True
        self.listen()


class Component(Person, slixmpp.ComponentXMPP):
    """An external component (XEP-0114), with somebody in it."""

    def __init__(self, address: str) -> None:
        super().__init__(slixmpp.JID(address).domain, _SECRET)  # type: ignore[no-untyped-call]  # it has no types
        self.boundjid = slixmpp.JID(f"{address}/one")
        self.listen()


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
        hosts = (_OURS.format(url=url, secret=_SECRET), _PARTNERS)
        names = (["contoso.com", "rooms.contoso.com", "litware.com"], ["fabrikam.com", "northwind.com"])
        authority = trustme.CA()
        self.servers: list[Server] = []
        for number in range(2):
            secrets_folder = folder / str(number)
            secrets_folder.mkdir()
            (secrets_folder / "token").write_text(token)
            authority.cert_pem.write_to_path(secrets_folder / "authority")
            certificate = authority.issue_cert(*names[number])
            certificate.private_key_pem.write_to_path(secrets_folder / "key")
            certificate.cert_chain_pems[0].write_to_path(secrets_folder / "certificate")
            common = _CONFIGURATION.format(
                host=_HOST, ports=ports[number], other_port=ports[1 - number]["s2s"]
            )
            (secrets_folder / "prosody.cfg.lua").write_text(common + hosts[number])
            self.servers.append(Server(engine, secrets_folder, ports[number]))
        for server in self.servers:
            server.wait()

    @asynccontextmanager
    async def people(self, *names: str) -> AsyncIterator[list[Person]]:
        """New people, logged in; of contoso.com unless a name says otherwise."""
        ours, partners = self.servers
        people: list[Person] = []
        for name in names:
            one, _, domain = (name if "@" in name else f"{name}@contoso.com").partition("@")
            user = f"{one}-{uuid.uuid4().hex[:8]}"
            if domain == "litware.com":
                server, service = ours, "component"
                person: Client | Component = Component(f"{user}@{domain}")
            else:
                server, service = ours if domain == "contoso.com" else partners, "c2s"
                person = Client(f"{user}@{domain}", await server.register(user, domain))
            started = asyncio.get_running_loop().create_future()
            person.add_event_handler("session_start", lambda _, it=started: it.done() or it.set_result(None))
            await person.connect(_HOST, server.ports[service])
            await asyncio.wait_for(started, _SECONDS)
            if isinstance(person, Client):
                person.send_presence()
            people.append(person)
        try:
            yield people
        finally:
            for each in people:
                await each.disconnect()


@pytest.fixture(scope="module")
def prosody(
    processes: Processes, engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prosody]:
    engine.images.build(path=str(_ROOT), dockerfile="tests/e2e/prosody.Dockerfile", tag=_IMAGE, rm=True)
    folder = tmp_path_factory.mktemp("prosody")
    one = Prosody(engine, folder, processes.front_end_urls[0], processes.tokens["prosody"])
    yield one
    for server in one.servers:
        server.container.remove(force=True)


@pytest.fixture(autouse=True)
def policy(processes: Processes) -> None:
    _set_policy(processes)


def _set_policy(
    system: Processes, *, internal: str = "everyone", critical: bool = False, disclaimer: str = ""
) -> None:
    """Set who is archived; return when the front end knows."""
    headers = {"Authorization": f"Bearer {system.tokens['administrator']}"}
    pool = {"archive": True, "critical": critical, "archive_all_group": False}
    with httpx.Client(base_url=system.admin_url, headers=headers, trust_env=False) as client:
        client.put("/v1/policy/domains/contoso.com", json={}).raise_for_status()
        client.put("/v1/policy/global/internal", json={"archive": internal}).raise_for_status()
        client.put("/v1/policy/pools/pool1", json=pool).raise_for_status()
        told = {"enabled": bool(disclaimer), "wordings": {"en": disclaimer} if disclaimer else {}}
        client.put("/v1/policy/disclaimer", json=told).raise_for_status()
        version = client.get("/v1/policy").raise_for_status().json()["version"]
    wait_for(lambda: _readiness(system)["policy"]["version"] == version, "the policy at the front end")


def _readiness(system: Processes) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.get(f"{system.front_end_urls[0]}/readyz", trust_env=False).json()
    return answer


def _archived(system: Processes, client: Person, count: int) -> list[dict[str, Any]]:
    """Return somebody's archived IMs, oldest first, once there are so many."""
    headers = {"Authorization": f"Bearer {system.tokens['compliance']}"}
    params = {"user": str(client.boundjid.bare), "order": "asc", "limit": "1000"}
    found: list[dict[str, Any]] = []

    def is_there() -> bool:
        answer = httpx.get(f"{system.admin_url}/v1/messages", params=params, headers=headers, trust_env=False)
        found[:] = answer.raise_for_status().json()["messages"]
        return len(found) >= count

    wait_for(is_there, f"{count} archived IMs")
    return found


async def _meet(*people: Person) -> str:
    """Return a new room, once these people are in it."""
    room = f"room-{uuid.uuid4().hex[:8]}@rooms.contoso.com"
    for one in people:
        await one.join(room)
    return room


def test_a_message_is_archived_and_delivered(processes: Processes, prosody: Prosody) -> None:
    async def talk() -> None:
        async with prosody.people("yannis", "ada") as (yannis, ada):
            yannis.say(ada.boundjid.bare, "Shall we meet at ten?")
            assert (await ada.next())["body"] == "Shall we meet at ten?"
            [im] = await asyncio.to_thread(_archived, processes, yannis, 1)
            assert im["body"] == "Shall we meet at ten?"
            assert im["recipients"] == [f"sip:{ada.boundjid.bare}"]

    asyncio.run(talk())


def test_quick_messages_keep_their_order_and_each_is_archived_once(
    processes: Processes, prosody: Prosody
) -> None:
    texts = [f"number {number}" for number in range(200)]

    async def talk() -> None:
        async with prosody.people("yannis", "ada") as (yannis, ada):
            ada.plugin["xep_0280"].enable()
            for text in texts:
                yannis.say(ada.boundjid.bare, text)
            assert [(await ada.next())["body"] for _ in texts] == texts
            ims = await asyncio.to_thread(_archived, processes, yannis, len(texts))
            assert sorted(im["body"] for im in ims) == sorted(texts)

    asyncio.run(talk())


def test_the_last_message_of_a_burst_arrives_though_nothing_follows_it(
    processes: Processes, prosody: Prosody
) -> None:
    async def talk() -> None:
        async with prosody.people("yannis", "ada") as (yannis, ada):
            for burst in range(20):
                texts = [f"{burst} {number} " + "so " * (30 + 5 * burst) for number in range(40)]
                for text in texts:
                    yannis.say(ada.boundjid.bare, text)
                    await asyncio.sleep(0)  # in pieces, so that the server reads while more comes
                assert [(await ada.next())["body"] for _ in texts] == texts

    asyncio.run(talk())


def test_a_typing_notice_passes_and_is_not_archived(processes: Processes, prosody: Prosody) -> None:
    async def talk() -> None:
        async with prosody.people("yannis", "ada") as (yannis, ada):
            typing = yannis.make_message(ada.boundjid.bare, mtype="chat")
            typing["chat_state"] = "composing"
            typing.send()
            assert (await ada.next())["chat_state"] == "composing"
            yannis.say(ada.boundjid.bare, "typed")
            assert (await ada.next())["body"] == "typed"
            ims = await asyncio.to_thread(_archived, processes, yannis, 1)
            assert [im["body"] for im in ims] == ["typed"]

    asyncio.run(talk())


def test_what_policy_does_not_archive_is_delivered(processes: Processes, prosody: Prosody) -> None:
    async def talk() -> None:
        async with prosody.people("yannis", "ada") as (yannis, ada):
            await asyncio.to_thread(_set_policy, processes, internal="none")
            yannis.say(ada.boundjid.bare, "off the record")
            assert (await ada.next())["body"] == "off the record"
            await asyncio.to_thread(_set_policy, processes)
            yannis.say(ada.boundjid.bare, "on it")
            assert (await ada.next())["body"] == "on it"
            ims = await asyncio.to_thread(_archived, processes, yannis, 1)
            assert [im["body"] for im in ims] == ["on it"]

    asyncio.run(talk())


def test_what_is_said_in_a_room_is_archived_as_a_group_im(processes: Processes, prosody: Prosody) -> None:
    async def talk() -> None:
        async with prosody.people("yannis", "ada", "grace") as people:
            yannis, ada, grace = people
            room = await _meet(*people)
            yannis.say(room, "Hello all", kind="groupchat")
            for one in (ada, grace):
                assert (await one.hear("Hello all"))["type"] == "groupchat"
            [im] = await asyncio.to_thread(_archived, processes, yannis, 1)
            assert im["sender"] == f"sip:{yannis.boundjid.bare}"
            assert sorted(im["recipients"]) == sorted(f"sip:{one.boundjid.bare}" for one in (ada, grace))

    asyncio.run(talk())


@pytest.mark.parametrize("ada_is_at", ["contoso.com", "northwind.com"])
def test_a_private_message_in_a_room_is_archived_once_as_one_to_who_gets_it(
    processes: Processes, prosody: Prosody, ada_is_at: str
) -> None:
    async def talk() -> None:
        async with prosody.people("yannis", f"ada@{ada_is_at}", "grace") as (yannis, ada, grace):
            room = await _meet(yannis, ada, grace)
            yannis.say(f"{room}/{ada.boundjid.user}", "Between us")
            await ada.hear("Between us")
            ada.say(f"{room}/{yannis.boundjid.user}", "Of course")
            await yannis.hear("Of course")
            yannis.say(room, "Hello all", kind="groupchat")
            await grace.hear("Hello all")
            ims = await asyncio.to_thread(_archived, processes, yannis, 3)
            people = {"yannis": yannis, "ada": ada, "grace": grace}
            names = {f"sip:{one.boundjid.bare}": name for name, one in people.items()}
            assert [
                (im["body"], names[im["sender"]], sorted(names[one] for one in im["recipients"]))
                for im in ims
            ] == [
                ("Between us", "yannis", ["ada"]),
                ("Of course", "ada", ["yannis"]),
                ("Hello all", "yannis", ["ada", "grace"]),
            ]
            scope = "internal" if ada_is_at == "contoso.com" else "federated"
            assert {im["scope"] for im in ims} == {scope}

    asyncio.run(talk())


@pytest.mark.parametrize("inviting", ["yannis", "yannis@northwind.com"])
def test_what_is_said_with_an_invitation_to_a_room_is_archived(
    processes: Processes, prosody: Prosody, inviting: str
) -> None:
    async def talk() -> None:
        async with prosody.people(inviting, "ada") as (yannis, ada):
            room = await _meet(yannis)
            yannis.plugin["xep_0045"].invite(room, ada.boundjid.bare, "to talk of the price")
            told = await ada.next()
            assert "to talk of the price" in told["body"]
            [im] = await asyncio.to_thread(_archived, processes, ada, 1)
            assert im["body"] == told["body"]
            assert im["sender"] == f"sip:{yannis.boundjid.bare}"
            assert im["recipients"] == [f"sip:{ada.boundjid.bare}"]

    asyncio.run(talk())


@pytest.mark.parametrize("speaker", ["yannis", "yannis@northwind.com", "yannis@litware.com"])
def test_what_is_said_to_a_full_address_as_if_in_a_room_is_archived(
    processes: Processes, prosody: Prosody, speaker: str
) -> None:
    async def talk() -> None:
        async with prosody.people(speaker, "ada") as (yannis, ada):
            yannis.say(ada.boundjid.full, "Hello all", kind="groupchat")
            assert (await ada.next())["body"] == "Hello all"
            [im] = await asyncio.to_thread(_archived, processes, ada, 1)
            assert (im["sender"], im["body"]) == (f"sip:{yannis.boundjid.bare}", "Hello all")

    asyncio.run(talk())


@pytest.mark.parametrize("speaker", ["yannis", "yannis@northwind.com", "yannis@litware.com"])
def test_an_error_is_delivered_without_a_body(processes: Processes, prosody: Prosody, speaker: str) -> None:
    async def talk() -> None:
        async with prosody.people(speaker, "ada") as (yannis, ada):
            condition = "<gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
            error = f"<body>psst</body><error type='cancel'>{condition}</error>"
            yannis.say_in_xml(ada.boundjid.full, error, kind="error")
            told = await ada.next()
            assert (told["error"]["condition"], told["body"]) == ("gone", "")
            yannis.say(ada.boundjid.full, "aloud")
            assert (await ada.next())["body"] == "aloud"
            ims = await asyncio.to_thread(_archived, processes, ada, 1)
            assert [im["body"] for im in ims] == ["aloud"]

    asyncio.run(talk())


def test_a_message_is_archived_in_all_its_languages(processes: Processes, prosody: Prosody) -> None:
    async def talk() -> None:
        async with prosody.people("yannis", "ada") as (yannis, ada):
            languages = "<body xml:lang='en'>Good</body><body xml:lang='de'>Gut</body>"
            yannis.say_in_xml(ada.boundjid.bare, languages)
            told = await ada.next()
            assert sorted(body.text for body in told.xml.findall("{jabber:client}body")) == ["Good", "Gut"]
            [im] = await asyncio.to_thread(_archived, processes, yannis, 1)
            assert im["body"] == "Good\nGut"

    asyncio.run(talk())


def test_a_body_is_archived_in_whatever_form(processes: Processes, prosody: Prosody) -> None:
    async def talk() -> None:
        async with prosody.people("yannis@litware.com", "ada") as (yannis, ada):
            for body in ("Hello", "Hello <b xmlns='urn:b'/>"):
                # A component talks in another namespace, so the clients' namespace is a foreign one there.
                yannis.say_in_xml(ada.boundjid.bare, f"<body xmlns='jabber:client'>{body}</body>")
                assert (await ada.next())["body"].startswith("Hello")
            ims = await asyncio.to_thread(_archived, processes, ada, 2)
            assert ims[0]["body"] == "Hello"
            assert "Hello <b" in ims[1]["body"]

    asyncio.run(talk())


@pytest.mark.parametrize("domain", ["fabrikam.com", "northwind.com"])
def test_what_comes_from_another_server_is_archived(
    processes: Processes, prosody: Prosody, domain: str
) -> None:
    """fabrikam.com answers on the connection that we opened (XEP-0288), northwind.com on one of its own."""

    async def talk() -> None:
        async with prosody.people("yannis", f"bob@{domain}") as (yannis, bob):
            yannis.say(bob.boundjid.bare, "Ten?")
            assert (await bob.next())["body"] == "Ten?"
            bob.say(yannis.boundjid.bare, "Eleven.")
            assert (await yannis.next())["body"] == "Eleven."
            connection = f"Incoming s2s connection {domain}->contoso.com complete".encode()
            log = await asyncio.to_thread(prosody.servers[0].container.logs)
            assert (connection in log) == (domain == "northwind.com")
            ims = await asyncio.to_thread(_archived, processes, yannis, 2)
            assert [(im["body"], im["sender"]) for im in ims] == [
                ("Ten?", f"sip:{yannis.boundjid.bare}"),
                ("Eleven.", f"sip:{bob.boundjid.bare}"),
            ]

    asyncio.run(talk())


def test_what_comes_quickly_from_a_component_is_archived_and_keeps_its_order(
    processes: Processes, prosody: Prosody
) -> None:
    texts = [f"number {number} " + "so " * number for number in range(200)]

    async def talk() -> None:
        async with prosody.people("yannis@litware.com", "ada") as (yannis, ada):
            for text in texts:
                yannis.say(ada.boundjid.bare, text)
                await asyncio.sleep(0)  # in pieces, so that the server reads while more comes
            assert [(await ada.next())["body"] for _ in texts] == texts
            ims = await asyncio.to_thread(_archived, processes, ada, len(texts))
            assert sorted(im["body"] for im in ims) == sorted(texts)

    asyncio.run(talk())


def test_what_a_component_said_before_it_went_is_not_delivered_without_being_archived(
    processes: Processes, prosody: Prosody
) -> None:
    log = prosody.servers[0].container.logs

    async def talk() -> None:
        async with prosody.people("yannis@litware.com", "ada", "grace") as (yannis, ada, grace):
            gone = b"component disconnected: litware.com"
            before = log().count(gone)
            for number in range(200):
                yannis.say(ada.boundjid.bare, f"number {number}")
            heard = {(await ada.next())["body"]}
            yannis.abort()
            await asyncio.to_thread(wait_for, lambda: log().count(gone) > before, "the component to be gone")
            grace.say(ada.boundjid.bare, "That was all")
            while "That was all" not in heard:
                heard.add((await ada.next())["body"])
            ims = await asyncio.to_thread(_archived, processes, ada, len(heard))
            assert heard <= {im["body"] for im in ims}

    asyncio.run(talk())


def test_what_a_component_says_in_a_room_and_to_another_server_is_archived(
    processes: Processes, prosody: Prosody
) -> None:
    async def talk() -> None:
        async with prosody.people("yannis@litware.com", "ada", "bob@northwind.com") as (yannis, ada, bob):
            room = await _meet(yannis, ada)
            yannis.say(room, "Hello all", kind="groupchat")
            await ada.hear("Hello all")
            yannis.say(f"{room}/{ada.boundjid.user}", "Between us")
            await ada.hear("Between us")
            yannis.say(bob.boundjid.bare, "Hello Bob")
            await bob.hear("Hello Bob")
            bob.say(yannis.boundjid.full, "Hello Yannis")
            await yannis.hear("Hello Yannis")
            ims = await asyncio.to_thread(_archived, processes, yannis, 4)
            assert [(im["body"], im["recipients"]) for im in ims] == [
                ("Hello all", [f"sip:{ada.boundjid.bare}"]),
                ("Between us", [f"sip:{ada.boundjid.bare}"]),
                ("Hello Bob", [f"sip:{bob.boundjid.bare}"]),
                ("Hello Yannis", [f"sip:{yannis.boundjid.bare}"]),
            ]

    asyncio.run(talk())


def test_a_partner_is_told_that_it_is_archived_before_what_is_said(
    processes: Processes, prosody: Prosody
) -> None:
    async def talk() -> None:
        async with prosody.people("yannis", "bob@fabrikam.com") as (yannis, bob):
            await asyncio.to_thread(_set_policy, processes, disclaimer="This conversation is archived.")
            for text in ("hello", "again"):
                yannis.say(bob.boundjid.bare, text)
            told = [await bob.next() for _ in range(3)]
            assert [one["body"] for one in told] == ["This conversation is archived.", "hello", "again"]
            assert {one["from"].bare for one in told} == {yannis.boundjid.bare}
            ims = await asyncio.to_thread(_archived, processes, yannis, 2)
            assert [(im["body"], im["scope"]) for im in ims] == [
                ("hello", "federated"),
                ("again", "federated"),
            ]

    asyncio.run(talk())


def test_in_a_critical_pool_nothing_is_delivered_while_the_broker_is_away(
    processes: Processes, prosody: Prosody
) -> None:
    async def talk() -> None:
        people = ("yannis", "ada", "bob@northwind.com", "gus@litware.com")
        async with prosody.people(*people) as (yannis, ada, bob, gus):
            room = await _meet(yannis, ada, bob)
            await asyncio.to_thread(_set_policy, processes, critical=True)
            await asyncio.to_thread(processes.stop_broker)
            try:
                for one in (yannis, bob, gus):
                    one.say(ada.boundjid.bare, "too early")
                for one in (yannis, bob):
                    one.say(room, "too early", kind="groupchat")
                    one.say(f"{room}/{ada.boundjid.user}", "too early")
                for one, count in ((yannis, 3), (bob, 3), (gus, 1)):
                    for _ in range(count):
                        while not (told := await one.next())["body"] and told["type"] != "error":
                            pass  # the room's subject
                        assert told["type"] == "error"
                        assert told.xml.find("*[@type='wait']") is not None
            finally:
                await asyncio.to_thread(processes.start_broker)
            await asyncio.to_thread(
                wait_for, lambda: _readiness(processes)["state"] == "normal", "the state normal"
            )
            yannis.say(ada.boundjid.bare, "in time")
            assert (await ada.next())["body"] == "in time"
            ims = await asyncio.to_thread(_archived, processes, yannis, 1)
            assert [im["body"] for im in ims] == ["in time"]

    try:
        asyncio.run(talk())
    finally:
        _set_policy(processes)
