"""What is said in rooms of ours, or by way of them."""

import asyncio

import pytest

from tests.xmpp.archive import Archive
from tests.xmpp.people import meet
from tests.xmpp.server import Prosody

pytestmark = pytest.mark.containers


def test_what_is_said_in_a_room_is_archived_as_a_group_im(archive: Archive, prosody: Prosody) -> None:
    async def talk() -> None:
        async with prosody.people("yannis", "ada", "grace") as people:
            yannis, ada, grace = people
            room = await meet(*people)
            yannis.say(room, "Hello all", kind="groupchat")
            for one in (ada, grace):
                assert (await one.hear("Hello all"))["type"] == "groupchat"
            [im] = await asyncio.to_thread(archive.of, yannis, 1)
            assert im["sender"] == f"sip:{yannis.boundjid.bare}"
            assert sorted(im["recipients"]) == sorted(f"sip:{one.boundjid.bare}" for one in (ada, grace))

    asyncio.run(talk())


@pytest.mark.parametrize("ada_is_at", ["contoso.com", "northwind.com"])
def test_a_private_message_in_a_room_is_archived_once_as_one_to_who_gets_it(
    archive: Archive, prosody: Prosody, ada_is_at: str
) -> None:
    async def talk() -> None:
        async with prosody.people("yannis", f"ada@{ada_is_at}", "grace") as (yannis, ada, grace):
            room = await meet(yannis, ada, grace)
            yannis.say(f"{room}/{ada.boundjid.user}", "Between us")
            await ada.hear("Between us")
            ada.say(f"{room}/{yannis.boundjid.user}", "Of course")
            await yannis.hear("Of course")
            yannis.say(room, "Hello all", kind="groupchat")
            await grace.hear("Hello all")
            ims = await asyncio.to_thread(archive.of, yannis, 3)
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
    archive: Archive, prosody: Prosody, inviting: str
) -> None:
    async def talk() -> None:
        async with prosody.people(inviting, "ada") as (yannis, ada):
            room = await meet(yannis)
            yannis.plugin["xep_0045"].invite(room, ada.boundjid.bare, "to talk of the price")
            told = await ada.next()
            assert "to talk of the price" in told["body"]
            [im] = await asyncio.to_thread(archive.of, ada, 1)
            assert im["body"] == told["body"]
            assert im["sender"] == f"sip:{yannis.boundjid.bare}"
            assert im["recipients"] == [f"sip:{ada.boundjid.bare}"]

    asyncio.run(talk())
