"""Messages between two people are asked about, delivered and archived: the real server, real clients."""

import asyncio

import pytest

from tests.xmpp.archive import Archive, content_of
from tests.xmpp.server import Prosody

pytestmark = pytest.mark.containers


def test_a_message_is_archived_and_delivered(archive: Archive, prosody: Prosody) -> None:
    async def talk() -> None:
        async with prosody.people("yannis", "ada") as (yannis, ada):
            yannis.say(ada.boundjid.bare, "Shall we meet at ten?")
            assert (await ada.next())["body"] == "Shall we meet at ten?"
            [im] = await asyncio.to_thread(archive.of, yannis, 1)
            assert im["body"] == "Shall we meet at ten?"
            assert im["recipients"] == [f"sip:{ada.boundjid.bare}"]

    asyncio.run(talk())


def test_quick_messages_keep_their_order_and_each_is_archived_once(
    archive: Archive, prosody: Prosody
) -> None:
    texts = [f"number {number}" for number in range(200)]

    async def talk() -> None:
        async with prosody.people("yannis", "ada") as (yannis, ada):
            ada.plugin["xep_0280"].enable()
            for text in texts:
                yannis.say(ada.boundjid.bare, text)
            assert [(await ada.next())["body"] for _ in texts] == texts
            ims = await asyncio.to_thread(archive.of, yannis, len(texts))
            assert sorted(im["body"] for im in ims) == sorted(texts)

    asyncio.run(talk())


def test_the_last_message_of_a_burst_arrives_though_nothing_follows_it(
    archive: Archive, prosody: Prosody
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


def test_a_typing_notice_passes_and_is_not_archived(archive: Archive, prosody: Prosody) -> None:
    async def talk() -> None:
        async with prosody.people("yannis", "ada") as (yannis, ada):
            typing = yannis.make_message(ada.boundjid.bare, mtype="chat")
            typing["chat_state"] = "composing"
            typing.send()
            assert (await ada.next())["chat_state"] == "composing"
            yannis.say(ada.boundjid.bare, "typed")
            assert (await ada.next())["body"] == "typed"
            ims = await asyncio.to_thread(archive.of, yannis, 1)
            assert [im["body"] for im in ims] == ["typed"]

    asyncio.run(talk())


def test_what_policy_does_not_archive_is_delivered(archive: Archive, prosody: Prosody) -> None:
    async def talk() -> None:
        async with prosody.people("yannis", "ada") as (yannis, ada):
            await asyncio.to_thread(archive.set_policy, internal="none")
            yannis.say(ada.boundjid.bare, "off the record")
            assert (await ada.next())["body"] == "off the record"
            await asyncio.to_thread(archive.set_policy)
            yannis.say(ada.boundjid.bare, "on it")
            assert (await ada.next())["body"] == "on it"
            ims = await asyncio.to_thread(archive.of, yannis, 1)
            assert [im["body"] for im in ims] == ["on it"]

    asyncio.run(talk())


@pytest.mark.parametrize("speaker", ["yannis", "yannis@northwind.com", "yannis@litware.com"])
def test_what_is_said_to_a_full_address_as_if_in_a_room_is_archived(
    archive: Archive, prosody: Prosody, speaker: str
) -> None:
    async def talk() -> None:
        async with prosody.people(speaker, "ada") as (yannis, ada):
            yannis.say(ada.boundjid.full, "Hello all", kind="groupchat")
            assert (await ada.next())["body"] == "Hello all"
            [im] = await asyncio.to_thread(archive.of, ada, 1)
            assert (im["sender"], im["body"]) == (f"sip:{yannis.boundjid.bare}", "Hello all")

    asyncio.run(talk())


@pytest.mark.parametrize("speaker", ["yannis", "yannis@northwind.com", "yannis@litware.com"])
def test_an_error_is_delivered_without_a_body(archive: Archive, prosody: Prosody, speaker: str) -> None:
    async def talk() -> None:
        async with prosody.people(speaker, "ada") as (yannis, ada):
            condition = "<gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
            error = f"<body>psst</body><error type='cancel'>{condition}</error>"
            yannis.say_in_xml(ada.boundjid.full, error, kind="error")
            told = await ada.next()
            assert (told["error"]["condition"], told["body"]) == ("gone", "")
            yannis.say(ada.boundjid.full, "aloud")
            assert (await ada.next())["body"] == "aloud"
            ims = await asyncio.to_thread(archive.of, ada, 1)
            assert [im["body"] for im in ims] == ["aloud"]

    asyncio.run(talk())


def test_a_message_is_archived_in_all_its_languages(archive: Archive, prosody: Prosody) -> None:
    async def talk() -> None:
        async with prosody.people("yannis", "ada") as (yannis, ada):
            languages = "<body xml:lang='en'>Good</body><body xml:lang='de'>Gut</body>"
            yannis.say_in_xml(ada.boundjid.bare, languages)
            told = await ada.next()
            assert sorted(body.text for body in told.xml.findall("{jabber:client}body")) == ["Good", "Gut"]
            [im] = await asyncio.to_thread(archive.of, yannis, 1)
            assert im["body"] == "Good\nGut"

    asyncio.run(talk())


def test_a_body_is_archived_in_whatever_form(archive: Archive, prosody: Prosody) -> None:
    async def talk() -> None:
        async with prosody.people("yannis@litware.com", "ada") as (yannis, ada):
            for body in ("Hello", "Hello <b xmlns='urn:b'/>"):
                # A component talks in another namespace, so the clients' namespace is a foreign one there.
                yannis.say_in_xml(ada.boundjid.bare, f"<body xmlns='jabber:client'>{body}</body>")
                assert (await ada.next())["body"].startswith("Hello")
            ims = await asyncio.to_thread(archive.of, ada, 2)
            assert ims[0]["body"] == "Hello"
            assert "Hello <b" in content_of(ims[1])

    asyncio.run(talk())
