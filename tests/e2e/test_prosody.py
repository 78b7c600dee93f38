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
c2s_ports = {{ {port} }}
s2s_ports = {{ }}
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "internal_plain"
modules_enabled = {{ "roster", "saslauth", "disco", "carbons", "offline", "lcs_archive" }}
modules_disabled = {{ "s2s", "tls" }}
lcs_archive_url = "{url}/v1/messages"
lcs_archive_token_file = "/secrets/token"
VirtualHost "contoso.com"
VirtualHost "fabrikam.com"
    modules_disabled = {{ "lcs_archive" }}
Component "rooms.contoso.com" "muc"
    modules_enabled = {{ "lcs_archive" }}
    muc_room_locking = false
"""


class Client(slixmpp.ClientXMPP):
    """Somebody's client; what it is told is in ``told``."""

    def __init__(self, address: str, password: str) -> None:
        super().__init__(f"{address}/one", password)
        self.enable_plaintext, self.enable_starttls, self.enable_direct_tls = True, False, False
        self.plugin["feature_mechanisms"].unencrypted_plain = True
        self.register_plugin("xep_0045")
        self.register_plugin("xep_0085")
        self.register_plugin("xep_0280")
        self.told: asyncio.Queue[Any] = asyncio.Queue()
        for event in ("message", "message_error", "chatstate_composing"):
            self.add_event_handler(event, self.told.put_nowait)

    def say(self, to: str, text: str, kind: Literal["chat", "groupchat"] = "chat") -> None:
        """Send a message."""
        self.send_message(slixmpp.JID(to), text, mtype=kind)

    async def next(self) -> Any:
        """Return the next stanza that it is told."""
        return await asyncio.wait_for(self.told.get(), _SECONDS)


class Prosody:
    """A chat server for contoso.com beside a stack."""

    def __init__(self, engine: docker.DockerClient, folder: Path, url: str, token: str) -> None:
        self.port = find_free_port()
        folder.mkdir()
        (folder / "token").write_text(token)
        configuration = _CONFIGURATION.format(host=_HOST, port=self.port, url=url)
        (folder / "prosody.cfg.lua").write_text(configuration)
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
        wait_for(lambda: b"Activated service 'c2s'" in self.container.logs(), "Prosody to listen")

    @asynccontextmanager
    async def people(self, *names: str) -> AsyncIterator[list[Client]]:
        """New people, logged in; of contoso.com unless a name says otherwise."""
        clients: list[Client] = []
        for name in names:
            one, _, domain = (name if "@" in name else f"{name}@contoso.com").partition("@")
            user, password = f"{one}-{uuid.uuid4().hex[:8]}", secrets.token_hex(8)
            register = ["prosodyctl", "--config", "/secrets/prosody.cfg.lua", "register", user, domain]
            done = await asyncio.to_thread(self.container.exec_run, [*register, password])
            assert done.exit_code == 0, done.output
            client = Client(f"{user}@{domain}", password)
            started = asyncio.get_running_loop().create_future()
            client.add_event_handler("session_start", lambda _, it=started: it.done() or it.set_result(None))
            await client.connect(_HOST, self.port)
            await asyncio.wait_for(started, _SECONDS)
            client.send_presence()
            clients.append(client)
        try:
            yield clients
        finally:
            for client in clients:
                await client.disconnect()


@pytest.fixture(scope="module")
def prosody(
    processes: Processes, engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prosody]:
    engine.images.build(path=str(_ROOT), dockerfile="tests/e2e/prosody.Dockerfile", tag=_IMAGE, rm=True)
    folder = tmp_path_factory.mktemp("prosody") / "secrets"
    one = Prosody(engine, folder, processes.front_end_urls[0], processes.tokens["connector"])
    yield one
    one.container.remove(force=True)


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


def _archived(system: Processes, client: Client, count: int) -> list[dict[str, Any]]:
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
            room = f"room-{uuid.uuid4().hex[:8]}@rooms.contoso.com"
            for one in people:
                await one.plugin["xep_0045"].join_muc_wait(
                    slixmpp.JID(room), str(one.boundjid.user), maxstanzas=0, timeout=_SECONDS
                )
            yannis.say(room, "Hello all", kind="groupchat")
            for one in (ada, grace):
                while (told := await one.next())["body"] != "Hello all":
                    pass
                assert told["type"] == "groupchat"
            [im] = await asyncio.to_thread(_archived, processes, yannis, 1)
            assert im["sender"] == f"sip:{yannis.boundjid.bare}"
            assert sorted(im["recipients"]) == sorted(f"sip:{one.boundjid.bare}" for one in (ada, grace))

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
        async with prosody.people("yannis", "ada") as (yannis, ada):
            await asyncio.to_thread(_set_policy, processes, critical=True)
            await asyncio.to_thread(processes.stop_broker)
            try:
                yannis.say(ada.boundjid.bare, "too early")
                refused = await yannis.next()
                assert (refused["type"], refused["error"]["type"]) == ("error", "wait")
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
