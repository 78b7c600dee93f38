"""Queries, presence and what people publish about themselves: nothing is said by these unseen."""

import asyncio
import uuid

import pytest

from deploy.local.process import wait_for
from tests.xmpp.archive import Archive, content_of
from tests.xmpp.people import Person, meet
from tests.xmpp.server import Prosody

pytestmark = pytest.mark.containers

_WORDS = "buy at nine tomorrow"
_JINGLE = (
    "<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' sid='0f2d'><content creator='initiator'>"
)
_PAST = {
    "a file (XEP-0234)": (
        f"{_JINGLE}<description xmlns='urn:xmpp:jingle:apps:file-transfer:5'/></content></jingle>"
    ),
    "text beside a call (XEP-0167)": (
        f"{_JINGLE}<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='text'/></content></jingle>"
    ),
    "a data channel": (
        f"{_JINGLE}<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/>"
        "<transport xmlns='urn:xmpp:jingle:transports:ice-udp:1'>"
        "<sctpmap xmlns='urn:xmpp:jingle:transports:dtls-sctp:1' number='5000'/></transport>"
        "</content></jingle>"
    ),
    "bytes in band (XEP-0047)": "<open xmlns='http://jabber.org/protocol/ibb' sid='0f2d' block-size='4096'/>",
    "bytes (XEP-0065)": "<query xmlns='http://jabber.org/protocol/bytestreams' sid='0f2d'/>",
    "a stream (XEP-0095)": "<si xmlns='http://jabber.org/protocol/si' id='0f2d'/>",
}
_CALL = f"{_JINGLE}<description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/></content></jingle>"
_SPEAKERS = ["yannis", "yannis@northwind.com", "yannis@litware.com"]


@pytest.mark.parametrize("speaker", _SPEAKERS)
def test_what_would_go_past_the_archive_is_refused(archive: Archive, prosody: Prosody, speaker: str) -> None:
    async def talk() -> None:
        async with prosody.people(speaker, "ada") as (yannis, ada):
            room = await meet(yannis, ada)
            for number, offer in enumerate(_PAST.values()):
                for place, to in enumerate((str(ada.boundjid.full), f"{room}/{ada.boundjid.user}")):
                    yannis.send_stanza("iq", to, offer, type="set", id=f"0f-{number}-{place}")
                    refused = await yannis.hear_all(f"0f-{number}-{place}")
                    assert "<not-acceptable" in refused
            yannis.say(ada.boundjid.full, "That was all")
            heard = await ada.hear_all("That was all")
            assert "jingle" not in heard
            assert "0f2d" not in heard
            [im] = await asyncio.to_thread(archive.of, ada, 1)
            assert im["body"] == "That was all"
            tried = {"file": 8, "t140": 2, "datachannel": 2}  # each to her, and by way of the room
            await asyncio.to_thread(wait_for, lambda: archive.attempts_of(yannis) == tried, "12 attempts")

    asyncio.run(talk())


def test_what_an_administrator_lets_go_past_is_archived_as_an_offer(
    archive: Archive, prosody: Prosody
) -> None:
    async def talk() -> None:
        async with prosody.people("yannis@bücher.example", "ada@bücher.example") as (yannis, ada):
            for number, offer in enumerate(_PAST.values()):
                yannis.send_stanza("iq", ada.boundjid.full, offer, type="set", id=f"0f2d-{number}")
                await ada.hear_all(f"0f2d-{number}")
            ims = await asyncio.to_thread(archive.of, ada, len(_PAST))
            offers = [im for im in ims if im["sender"].startswith("sip:yannis")]
            assert [f"0f2d-{number}" in content_of(im) for number, im in enumerate(offers)] == [True] * len(
                _PAST
            )

    asyncio.run(talk())


@pytest.mark.parametrize("speaker", _SPEAKERS)
def test_a_query_that_is_not_empty_is_archived(archive: Archive, prosody: Prosody, speaker: str) -> None:
    async def talk() -> None:
        async with prosody.people(speaker, "ada") as (yannis, ada):
            to = str(ada.boundjid.full)
            yannis.send_stanza("iq", to, "<ping xmlns='urn:xmpp:ping'/>", type="get", id="0f2d-1")
            version = f"<query xmlns='jabber:iq:version'><name>{_WORDS}</name></query>"
            yannis.send_stanza("iq", to, version, type="result", id="0f2d-2")
            yannis.send_stanza("iq", to, _CALL, type="set", id="0f2d-3")
            yannis.send_stanza("iq", to, "", type="result", id=_WORDS)
            heard = await ada.hear_all(f'id="{_WORDS}"')
            assert "urn:xmpp:ping" in heard
            ims = await asyncio.to_thread(archive.of, ada, 3)
            said = [content_of(im) for im in ims if im["sender"] == f"sip:{yannis.boundjid.bare}"]
            assert [words in each for words, each in zip((_WORDS, "0f2d-3", _WORDS), said, strict=True)]
            assert len(said) == 3

    asyncio.run(talk())


def test_what_is_said_in_a_room_by_its_settings_is_archived(archive: Archive, prosody: Prosody) -> None:
    async def talk() -> None:
        async with prosody.people("yannis", "ada") as (yannis, ada):
            room = await meet(yannis, ada)
            reason = (
                "<query xmlns='http://jabber.org/protocol/muc#admin'>"
                f"<item nick='{ada.boundjid.user}' role='visitor'><reason>{_WORDS}</reason></item></query>"
            )
            yannis.send_stanza("iq", room, reason, type="set", id="0f2d")
            await ada.hear_all(_WORDS)
            [im] = await asyncio.to_thread(archive.of, ada, 1)
            assert _WORDS in content_of(im)

    asyncio.run(talk())


@pytest.mark.parametrize("speaker", _SPEAKERS)
def test_a_presence_comes_without_what_somebody_wrote_in_it(
    archive: Archive, prosody: Prosody, speaker: str
) -> None:
    async def talk() -> None:
        async with prosody.people(speaker, "ada") as (yannis, ada):
            said = (
                f"<show>away</show><status>{_WORDS}</status><x xmlns='urn:example'>{_WORDS}</x>{_WORDS}"
                f"<nick xmlns='http://jabber.org/protocol/nick'>{_WORDS}</nick><priority>{_WORDS}</priority>"
                f"<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='{_WORDS}' ver='{_WORDS}'/>"
            )
            room = await meet(yannis, ada)
            for kind in ("", "subscribe", "unavailable"):
                attributes = {"type": kind} if kind else {}
                yannis.send_stanza("presence", str(ada.boundjid.bare), said, id=_WORDS, **attributes)
            yannis.send_stanza("presence", f"{room}/{yannis.boundjid.user}", said)
            yannis.say(ada.boundjid.bare, "That was all")
            heard = await ada.hear_all("That was all")
            assert heard.count("<show>away</show>") >= 2
            assert _WORDS not in heard
            [im] = await asyncio.to_thread(archive.of, ada, 1)
            assert im["body"] == "That was all"

    asyncio.run(talk())


def test_what_somebody_publishes_about_himself_is_archived_unless_only_he_may_read_it(
    archive: Archive, prosody: Prosody
) -> None:
    private = (
        "<publish-options><x xmlns='jabber:x:data' type='submit'>"
        "<field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#publish-options</value></field>"
        "<field var='pubsub#access_model'><value>whitelist</value></field></x></publish-options>"
    )

    async def talk() -> None:
        async with prosody.people("yannis", "ada") as (yannis, ada):
            ada.send_stanza("presence", yannis.boundjid.bare, "", type="subscribe")  # his client lets her
            await ada.hear_all("urn:xmpp:delay")  # so she sees that he is there
            nodes = (
                ("urn:example:private", private),
                ("urn:example:private", private),
                ("urn:example:mood", ""),
            )
            for number, (node, options) in enumerate(nodes):
                await _publish(yannis, node, f"{_WORDS} {number}", options)
            ims = await asyncio.to_thread(archive.of, ada, 2)
            # A node that is made private is private from what comes next.
            assert [f"{_WORDS} {number}" in content_of(im) for number, im in zip((0, 2), ims, strict=True)]
            assert {address for im in ims for address in im["recipients"]} == {f"sip:{ada.boundjid.bare}"}
            form = (
                "<x xmlns='jabber:x:data' type='submit'>"
                "<field var='pubsub#access_model'><value>open</value></field></x>"
            )
            opened = f"<configure node='urn:example:private'>{form}</configure>"
            owner = f"<pubsub xmlns='http://jabber.org/protocol/pubsub#owner'>{opened}</pubsub>"
            yannis.send_stanza("iq", yannis.boundjid.bare, owner, type="set", id="0f2d")
            assert "<not-acceptable" in await yannis.hear_all('id="0f2d"')

    asyncio.run(talk())


async def _publish(person: Person, node: str, text: str, options: str) -> None:
    item = f"<item><mood xmlns='http://jabber.org/protocol/mood'><text>{text}</text></mood></item>"
    publish = f"<publish node='{node}'>{item}</publish>{options}"
    query = f"<pubsub xmlns='http://jabber.org/protocol/pubsub'>{publish}</pubsub>"
    asked = uuid.uuid4().hex
    person.send_stanza("iq", person.boundjid.bare, query, type="set", id=asked)
    assert 'type="result"' in await person.hear_all(asked)
