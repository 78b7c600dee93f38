"""What comes from other servers and from external components."""

import asyncio

import pytest

from deploy.local.process import wait_for
from tests.xmpp.archive import Archive
from tests.xmpp.people import meet
from tests.xmpp.server import Prosody

pytestmark = pytest.mark.containers


@pytest.mark.parametrize("domain", ["fabrikam.com", "northwind.com"])
def test_what_comes_from_another_server_is_archived(archive: Archive, prosody: Prosody, domain: str) -> None:
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
            ims = await asyncio.to_thread(archive.of, yannis, 2)
            assert [(im["body"], im["sender"]) for im in ims] == [
                ("Ten?", f"sip:{yannis.boundjid.bare}"),
                ("Eleven.", f"sip:{bob.boundjid.bare}"),
            ]

    asyncio.run(talk())


def test_what_comes_quickly_from_a_component_is_archived_and_keeps_its_order(
    archive: Archive, prosody: Prosody
) -> None:
    texts = [f"number {number} " + "so " * number for number in range(200)]

    async def talk() -> None:
        async with prosody.people("yannis@litware.com", "ada") as (yannis, ada):
            for text in texts:
                yannis.say(ada.boundjid.bare, text)
                await asyncio.sleep(0)  # in pieces, so that the server reads while more comes
            assert [(await ada.next())["body"] for _ in texts] == texts
            ims = await asyncio.to_thread(archive.of, ada, len(texts))
            assert sorted(im["body"] for im in ims) == sorted(texts)

    asyncio.run(talk())


def test_what_a_component_said_before_it_went_is_not_delivered_without_being_archived(
    archive: Archive, prosody: Prosody
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
            ims = await asyncio.to_thread(archive.of, ada, len(heard))
            assert heard <= {im["body"] for im in ims}

    asyncio.run(talk())


def test_what_a_component_says_in_a_room_and_to_another_server_is_archived(
    archive: Archive, prosody: Prosody
) -> None:
    async def talk() -> None:
        async with prosody.people("yannis@litware.com", "ada", "bob@northwind.com") as (yannis, ada, bob):
            room = await meet(yannis, ada)
            yannis.say(room, "Hello all", kind="groupchat")
            await ada.hear("Hello all")
            yannis.say(f"{room}/{ada.boundjid.user}", "Between us")
            await ada.hear("Between us")
            yannis.say(bob.boundjid.bare, "Hello Bob")
            await bob.hear("Hello Bob")
            bob.say(yannis.boundjid.full, "Hello Yannis")
            await yannis.hear("Hello Yannis")
            ims = await asyncio.to_thread(archive.of, yannis, 4)
            assert [(im["body"], im["recipients"]) for im in ims] == [
                ("Hello all", [f"sip:{ada.boundjid.bare}"]),
                ("Between us", [f"sip:{ada.boundjid.bare}"]),
                ("Hello Bob", [f"sip:{bob.boundjid.bare}"]),
                ("Hello Yannis", [f"sip:{yannis.boundjid.bare}"]),
            ]

    asyncio.run(talk())
