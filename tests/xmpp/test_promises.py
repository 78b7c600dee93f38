"""What the front end wants: partners told before, and nothing delivered that is not safe."""

import asyncio

import pytest

from deploy.local.process import wait_for
from tests.xmpp.archive import Archive
from tests.xmpp.people import meet
from tests.xmpp.server import Prosody

pytestmark = pytest.mark.containers


@pytest.mark.parametrize("partner", ["bob@fabrikam.com", r"d\27artagnan@müller.example"])
def test_a_partner_is_told_that_it_is_archived_before_what_is_said(
    archive: Archive, prosody: Prosody, partner: str
) -> None:
    async def talk() -> None:
        async with prosody.people("yannis", partner) as (yannis, bob):
            await asyncio.to_thread(archive.set_policy, disclaimer="This conversation is archived.")
            for text in ("hello", "again"):
                yannis.say(bob.boundjid.bare, text)
            told = [await bob.next() for _ in range(3)]
            assert [one["body"] for one in told] == ["This conversation is archived.", "hello", "again"]
            assert {one["from"].bare for one in told} == {yannis.boundjid.bare}
            ims = await asyncio.to_thread(archive.of, yannis, 2)
            assert [(im["body"], im["scope"]) for im in ims] == [
                ("hello", "federated"),
                ("again", "federated"),
            ]
            told_so = [("This conversation is archived.", "told")]
            await asyncio.to_thread(wait_for, lambda: archive.notices_to(bob) == told_so, "the record of it")

    asyncio.run(talk())


def test_a_notice_to_a_server_that_is_not_there_is_taken_back(archive: Archive, prosody: Prosody) -> None:
    async def talk() -> None:
        async with prosody.people("yannis") as (yannis,):
            await asyncio.to_thread(archive.set_policy, disclaimer="This conversation is archived.")
            yannis.say("bob@nowhere.invalid", "hello")
            await asyncio.to_thread(
                wait_for,
                lambda: archive.notices_taken_back("bob@nowhere.invalid") == 1,
                "the notice to be taken back",
            )

    asyncio.run(talk())


def test_in_a_critical_pool_nothing_is_delivered_while_the_broker_is_away(
    archive: Archive, prosody: Prosody
) -> None:
    async def talk() -> None:
        people = ("yannis", "ada", "bob@northwind.com", "gus@litware.com")
        async with prosody.people(*people) as (yannis, ada, bob, gus):
            room = await meet(yannis, ada, bob)
            await asyncio.to_thread(archive.set_policy, critical=True)
            await asyncio.to_thread(archive.system.stop_broker)
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
                await asyncio.to_thread(archive.system.start_broker)
            await asyncio.to_thread(
                wait_for, lambda: archive.readiness()["state"] == "normal", "the state normal"
            )
            yannis.say(ada.boundjid.bare, "in time")
            assert (await ada.next())["body"] == "in time"
            ims = await asyncio.to_thread(archive.of, yannis, 1)
            assert [im["body"] for im in ims] == ["in time"]

    try:
        asyncio.run(talk())
    finally:
        archive.set_policy()
