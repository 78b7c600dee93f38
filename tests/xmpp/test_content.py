"""Nothing is empty unless it is proved so: what else comes in a message is archived as it came."""

import asyncio
import uuid

import pytest

from tests.xmpp.archive import Archive, content_of
from tests.xmpp.people import meet
from tests.xmpp.server import Prosody

pytestmark = pytest.mark.containers

_WORDS = "buy at nine tomorrow"
_CONTENT = {
    "a reaction (XEP-0444)": (
        "<reactions xmlns='urn:xmpp:reactions:0' id='1'><reaction>WORDS</reaction></reactions>"
    ),
    "XHTML alone (XEP-0071)": (
        "<html xmlns='http://jabber.org/protocol/xhtml-im'>"
        "<body xmlns='http://www.w3.org/1999/xhtml'><p>WORDS</p></body></html>"
    ),
    "XHTML that says something else": (
        "<body>Fine weather</body><html xmlns='http://jabber.org/protocol/xhtml-im'>"
        "<body xmlns='http://www.w3.org/1999/xhtml'><p>WORDS</p></body></html>"
    ),
    "a forwarded message (XEP-0297)": (
        "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='g@litware.com'>"
        "<body>WORDS</body></message></forwarded>"
    ),
    "a carbon that a client made (XEP-0280)": (
        "<sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>"
        "<message xmlns='jabber:client'><body>WORDS</body></message></forwarded></sent>"
    ),
    "an invitation's reason (XEP-0249)": (
        "<x xmlns='jabber:x:conference' jid='room@rooms.contoso.com' reason='WORDS'/>"
    ),
    "a description (XEP-0066)": (
        "<x xmlns='jabber:x:oob'><url>https://contoso.com/</url><desc>WORDS</desc></x>"
    ),
    "a file (XEP-0447)": (
        "<file-sharing xmlns='urn:xmpp:sfs:0'><file xmlns='urn:xmpp:file:metadata:0'>"
        "<desc>WORDS</desc></file></file-sharing>"
    ),
    "OMEMO without fallback (XEP-0384)": (
        "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'/>"
        "<payload>WORDS</payload></encrypted>"
    ),
    "OMEMO with fallback": (
        "<encrypted xmlns='eu.siacs.conversations.axolotl'><payload>WORDS</payload></encrypted>"
        "<body>I sent you an OMEMO encrypted message</body>"
    ),
    "a correction (XEP-0308)": "<body>Yes</body><replace id='WORDS' xmlns='urn:xmpp:message-correct:0'/>",
    "a form (XEP-0004)": (
        "<x xmlns='jabber:x:data' type='form'><field var='a' label='Say'><value>WORDS</value></field></x>"
    ),
    "live text (XEP-0301)": "<rtt xmlns='urn:xmpp:rtt:0' seq='1'><t>WORDS</t></rtt>",
    "a nickname (XEP-0172)": "<body>Hello</body><nick xmlns='http://jabber.org/protocol/nick'>WORDS</nick>",
    "a subject": "<subject>WORDS</subject>",
    "a subject beside a body": "<subject>WORDS</subject><body>Hello</body>",
    "text between elements": "WORDS<composing xmlns='http://jabber.org/protocol/chatstates'/>",
    "text in a typing notice": "<composing xmlns='http://jabber.org/protocol/chatstates'>WORDS</composing>",
    "an attribute of a typing notice": (
        "<composing xmlns='http://jabber.org/protocol/chatstates' note='WORDS'/>"
    ),
    "an element in a typing notice": (
        "<composing xmlns='http://jabber.org/protocol/chatstates'><a>WORDS</a></composing>"
    ),
    "a receipt of what nobody sent (XEP-0184)": "<received xmlns='urn:xmpp:receipts' id='WORDS'/>",
    "a marker (XEP-0333)": "<displayed xmlns='urn:xmpp:chat-markers:0' id='WORDS'/>",
    "a thread": "<body>Hello</body><thread>WORDS</thread>",
    "a delay's reason (XEP-0203)": (
        "<body>Hello</body><delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'>WORDS</delay>"
    ),
    "a body of another kind": "<body xmlns='urn:example'>WORDS</body>",
    "a body with an attribute": "<body note='WORDS'>Hello</body>",
    "an unknown element": "<x xmlns='urn:example'>WORDS</x>",
}
_EMPTY = {
    "active": "<active xmlns='http://jabber.org/protocol/chatstates'/>",
    "gone": "<gone xmlns='http://jabber.org/protocol/chatstates'/>",
    "a receipt": "<received xmlns='urn:xmpp:receipts' id='0f2d-41'/>",
    "a marker": "<displayed xmlns='urn:xmpp:chat-markers:0' id='0f2d-41'/>",
    "a hint": "<paused xmlns='http://jabber.org/protocol/chatstates'/><no-store xmlns='urn:xmpp:hints'/>",
    "a thread": "<composing xmlns='http://jabber.org/protocol/chatstates'/><thread>0f2d</thread>",
}
_DECORATED = (
    "<body>Hello</body><active xmlns='http://jabber.org/protocol/chatstates'/>"
    "<request xmlns='urn:xmpp:receipts'/>"
    "<markable xmlns='urn:xmpp:chat-markers:0'/><origin-id xmlns='urn:xmpp:sid:0' id='0f2d-41'/>"
    "<store xmlns='urn:xmpp:hints'/>"
)


@pytest.mark.parametrize("speaker", ["yannis", "yannis@northwind.com", "yannis@litware.com"])
def test_what_is_not_proved_empty_is_archived_as_it_came(
    archive: Archive, prosody: Prosody, speaker: str
) -> None:
    async def talk() -> None:
        async with prosody.people(speaker, "ada") as (yannis, ada):
            words = [f"buy {number} at nine tomorrow" for number in range(len(_CONTENT))]
            for content, word in zip(_CONTENT.values(), words, strict=True):
                yannis.say_in_xml(ada.boundjid.bare, content.replace("WORDS", word))
            yannis.say(ada.boundjid.bare, "That was all")
            heard = await ada.hear_all("That was all")
            *ims, last = await asyncio.to_thread(archive.of, ada, len(_CONTENT) + 1)
            assert last["body"] == "That was all"
            for what, word, im in zip(_CONTENT, words, ims, strict=True):
                assert word in heard, what
                assert im["content_type"] == "application/xmpp+xml", what
                assert word in content_of(im), what
            encrypted = [what for what, im in zip(_CONTENT, ims, strict=True) if im["encryption"] == "omemo"]
            assert encrypted == [what for what in _CONTENT if what.startswith("OMEMO")]

    asyncio.run(talk())


@pytest.mark.parametrize("speaker", ["yannis", "yannis@northwind.com", "yannis@litware.com"])
def test_what_is_proved_empty_passes_unasked(archive: Archive, prosody: Prosody, speaker: str) -> None:
    async def talk() -> None:
        async with prosody.people(speaker, "ada") as (yannis, ada):
            before = await asyncio.to_thread(archive.asked)
            for content in _EMPTY.values():
                yannis.say_in_xml(ada.boundjid.bare, content)
            yannis.say_in_xml(ada.boundjid.bare, _DECORATED)
            heard = await ada.hear_all("Hello")
            for name in (
                "active",
                "gone",
                "received",
                "displayed",
                "paused",
                "no-store",
                "thread",
                "markable",
            ):
                assert f"<{name}" in heard
            assert await asyncio.to_thread(archive.asked) == before + 1
            ims = await asyncio.to_thread(archive.of, ada, 1)
            assert [(im["content_type"], im["body"]) for im in ims] == [("text/plain", "Hello")]

    asyncio.run(talk())


def test_an_id_that_spells_something_is_archived_or_left_out(archive: Archive, prosody: Prosody) -> None:
    async def talk() -> None:
        async with prosody.people("yannis", "ada") as (yannis, ada):
            typing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
            yannis.send_stanza("message", ada.boundjid.bare, typing, id="sell-at-noon", type="chat")
            yannis.send_stanza("message", ada.boundjid.bare, "<body>Hello</body>", id="buy-at-nine")
            heard = await ada.hear_all("Hello")
            assert "sell-at-noon" not in heard
            assert "buy-at-nine" in heard
            ada.say_in_xml(yannis.boundjid.bare, "<received xmlns='urn:xmpp:receipts' id='buy-at-nine'/>")
            await yannis.hear_all("buy-at-nine")  # that is known: it says nothing new
            ada.say(yannis.boundjid.bare, "That was all")
            ims = await asyncio.to_thread(archive.of, ada, 2)
            assert "buy-at-nine" in content_of(ims[0])
            assert [im["body"] for im in ims[1:]] == ["That was all"]

    asyncio.run(talk())


def test_comments_and_processing_instructions_end_the_stream(archive: Archive, prosody: Prosody) -> None:
    """RFC 6120, 11.1: Prosody sees to it."""

    async def talk() -> None:
        async with prosody.people("yannis", "grace", "ada") as (yannis, grace, ada):
            yannis.say_in_xml(ada.boundjid.bare, "<body>Hello</body><!-- sell at noon -->")
            grace.say_in_xml(ada.boundjid.bare, "<body>Hello</body><?sell at noon?>")
            for one in (yannis, grace):
                assert "not-well-formed" in await one.hear_all("not-well-formed")
            ada.say(ada.boundjid.bare, "That was all")
            assert "noon" not in await ada.hear_all("That was all")

    asyncio.run(talk())


@pytest.mark.parametrize("speaker", ["yannis", "yannis@northwind.com", "yannis@litware.com"])
def test_a_room_s_subject_is_archived(archive: Archive, prosody: Prosody, speaker: str) -> None:
    async def talk() -> None:
        async with prosody.people(speaker, "ada") as (yannis, ada):
            room = await meet(yannis, ada)
            yannis.say_in_xml(room, f"<subject>{_WORDS}</subject>", kind="groupchat")
            await ada.hear_all(_WORDS)
            [im] = await asyncio.to_thread(archive.of, ada, 1)
            assert _WORDS in content_of(im)
            assert im["sender"] == f"sip:{yannis.boundjid.bare}"

    asyncio.run(talk())


def test_what_is_left_in_an_empty_room_is_archived_as_said_to_the_room(
    archive: Archive, prosody: Prosody
) -> None:
    async def talk() -> None:
        async with prosody.people("yannis", "ada") as (yannis, ada):
            room = await meet(yannis)
            yannis.say(room, "For who comes later", kind="groupchat")
            await yannis.hear("For who comes later")
            await ada.join(room, history=True)
            await ada.hear_all("For who comes later")  # the room's history: it isn't archived again
            ada.say(room, "Thank you", kind="groupchat")
            ims = await asyncio.to_thread(archive.of, yannis, 2)
            assert [(im["body"], im["recipients"]) for im in ims] == [
                ("For who comes later", [f"sip:{room}"]),
                ("Thank you", [f"sip:{yannis.boundjid.bare}"]),
            ]

    asyncio.run(talk())


@pytest.mark.parametrize("element", ["invite", "decline"])
def test_a_reason_is_archived_whatever_the_body_says(
    archive: Archive, prosody: Prosody, element: str
) -> None:
    async def talk() -> None:
        async with prosody.people("yannis", "ada") as (yannis, ada):
            room = await meet(yannis)
            to = f"{element} to='{ada.boundjid.bare}'"
            reason = f"<x xmlns='http://jabber.org/protocol/muc#user'><{to}><reason>{_WORDS}</reason></{element}></x>"
            for body in ("", "<body>Fine weather</body>"):
                yannis.send_stanza("message", room, reason + body)
                await ada.hear_all(_WORDS)
            ims = await asyncio.to_thread(archive.of, ada, 2)
            assert all(_WORDS in content_of(im) for im in ims)
            assert len(ims) == 2

    asyncio.run(talk())


def test_a_name_in_a_room_is_archived_if_it_says_something(archive: Archive, prosody: Prosody) -> None:
    async def talk() -> None:
        async with prosody.people("yannis", "ada") as (yannis, ada):
            room = await meet(yannis, ada)
            yannis.send_stanza("presence", f"{room}/{_WORDS}", f"<status>{uuid.uuid4()}</status>")
            await ada.hear_all(_WORDS)
            yannis.say(room, "Hello", kind="groupchat")
            await ada.hear("Hello")
            ims = await asyncio.to_thread(archive.of, ada, 2)
            assert _WORDS in content_of(ims[0])
            assert "status" not in content_of(ims[0])
            assert [im["body"] for im in ims[1:]] == ["Hello"]

    asyncio.run(talk())
