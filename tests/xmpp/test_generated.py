"""Whatever a client makes up: what another receives and isn't proved empty is in the archive."""

import asyncio
import contextlib
import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from deploy.local.process import wait_for
from tests.xmpp.archive import Archive, content_of
from tests.xmpp.people import Person, meet
from tests.xmpp.server import Prosody
from tests.xmpp.stanzas import WORD, Stanza, stanzas

pytestmark = pytest.mark.containers

_SPEAKERS = ("yannis", "bob@northwind.com", "gus@litware.com")
_EXAMPLES = 60
_JOIN = "<x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x>"


class _Talk(NamedTuple):
    """People who talk, as long as the test runs."""

    runner: asyncio.Runner
    speakers: list[Person]
    hearers: list[Person]
    room: str
    numbers: Iterator[int]


@pytest.fixture
def talk(prosody: Prosody, archive: Archive) -> Iterator[_Talk]:
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()

        async def begin() -> _Talk:
            people = await stack.enter_async_context(prosody.people(*_SPEAKERS, "ada", "eve@northwind.com"))
            room = await meet(*people)
            return _Talk(runner, people[: len(_SPEAKERS)], people[len(_SPEAKERS) :], room, itertools.count(1))

        yield runner.run(begin())
        runner.run(stack.aclose())


def _places(room: str, person: Person, other: Person) -> tuple[str, ...]:
    """Return where somebody may send something that another then gets."""
    in_room = f"{room}/{other.boundjid.user}"
    if (
        person.boundjid.domain == other.boundjid.domain
    ):  # what two partners say to each other doesn't pass here
        return in_room, room, in_room, room, room, in_room
    full, bare = str(other.boundjid.full), str(other.boundjid.bare)
    return full, bare, in_room, room, f"{bare}/so {WORD}", f"{room}/so {WORD}"


def _in_words(stanza: Stanza, word: str) -> Stanza:
    attributes = {key: value.replace(WORD, word) for key, value in stanza.attributes.items()}
    return stanza._replace(attributes=attributes, content=stanza.content.replace(WORD, word))


@settings(
    max_examples=_EXAMPLES,
    derandomize=True,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # to shrink takes as long as the whole suite
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    said=st.lists(
        st.tuples(st.integers(0, len(_SPEAKERS) - 1), st.integers(0, 1), st.integers(0, 5), stanzas),
        min_size=1,
        max_size=12,
    )
)
def test_what_another_receives_is_in_the_archive(
    talk: _Talk, archive: Archive, said: list[tuple[int, int, int, Stanza]]
) -> None:
    """Each word comes in one stanza only, in an element's name, an attribute, a text, at any depth."""

    async def say_all() -> list[str]:
        for person in (*talk.speakers, *talk.hearers):  # some were thrown out for errors
            person.send_stanza("presence", f"{talk.room}/{person.boundjid.user}", _JOIN)
        for speaker, hearer, place, stanza in said:
            person, other = talk.speakers[speaker], talk.hearers[hearer]
            to = _places(talk.room, person, other)[place]
            if stanza.name == "message" and stanza.attributes.get("type") == "groupchat" and place < 4:
                to = talk.room
            word = f"sellnoon{next(talk.numbers):05}x"
            name, attributes, content = _in_words(stanza, word)
            person.send_stanza(name, to.replace(WORD, word), content, **attributes)
        last = f"that was all {next(talk.numbers):05}"
        heard: list[str] = []
        for other in talk.hearers:
            for person in talk.speakers:
                person.say(str(other.boundjid.full), last)
        for other in talk.hearers:
            for _ in talk.speakers:
                heard.append(await other.hear_all(f">{last}<"))
        return heard

    heard = set(re.findall(r"sellnoon\d{5}x", "\n".join(talk.runner.run(say_all()))))
    unseen = set(heard)

    def is_archived() -> bool:
        for person in talk.hearers:
            for im in archive.latest(person):
                unseen.difference_update(re.findall(r"sellnoon\d{5}x", content_of(im)))
        return not unseen

    wait_for(is_archived, f"{sorted(unseen)} in the archive", seconds=10)
