"""Every field that a caller can send arrives in the IM on the queue, also by way of the spool.

The fields are taken from ``Submission`` itself: a new one is tested with no edit here.
"""

import base64
import string
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from contract.address import parse_address
from contract.conversation import conversation_key
from contract.message import IM, make_id, time_at
from frontend.agent import Agent
from frontend.im import CheckedIM
from frontend.listeners.submission import Submission, read_submission
from tests.unit.agent_port import CONNECTOR, SETTINGS, Port, reached, run

_TEXT: Final = st.text(string.ascii_letters, min_size=1, max_size=8)
_ADDRESSES: Final = st.builds("{}@{}".format, _TEXT, st.sampled_from(["contoso.com", "Contoso.COM"]))
_AT: Final = st.integers(-3600_000, 0).map(lambda before: time.time_ns() // 1_000_000 + before)
_VALUES: Final[dict[str, st.SearchStrategy[Any]]] = {
    "sender": _ADDRESSES,
    "recipients": st.lists(_ADDRESSES, min_size=1, max_size=3),
    "body": st.binary(min_size=1, max_size=20).map(lambda content: base64.b64encode(content).decode()),
    "id": _AT.map(make_id),
    "sent_at": _AT.map(time_at),
    "conversation": _TEXT,
    "content_type": _TEXT.map("text/{}".format),
    "encoding": st.just("base64"),  # compressed content must be so
    "content_encoding": _TEXT,
}
"""Of fields whose type allows more than their rule; those of any other field are of its type."""
EXPECTED: Final[dict[str, Callable[[Any], object]]] = {
    "sender": parse_address,
    "recipients": lambda recipients: tuple(dict.fromkeys(map(parse_address, recipients))),
    "conversation": lambda key: conversation_key(CONNECTOR.name, key),
}
"""Of fields that arrive in another form; any other arrives as it was sent."""
_FIELDS: Final = msgspec.structs.fields(Submission)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Return an IM as JSON has it, with some of the optional fields."""
    document = {
        field.name: draw(_VALUES[field.name] if field.name in _VALUES else st.from_type(field.type))
        for field in _FIELDS
        if field.required or draw(st.booleans())
    }
    if "id" in document:
        document.pop("sent_at", None)  # it is the time inside the id
    if "content_encoding" in document:
        document["encoding"] = "base64"
    return document


@pytest.mark.parametrize("by_spool", [False, True], ids=["at once", "by way of the spool"])
@given(st.lists(documents(), min_size=20, max_size=40))
@settings(max_examples=5, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
def test_every_field_of_a_submission_arrives_on_the_queue(by_spool: bool, sent: list[dict[str, Any]]) -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        if by_spool:
            port.connected.clear()
        for document in sent:
            im = read_submission(msgspec.json.encode(document), SETTINGS)
            agent.submit(im, CONNECTOR, agent.lane_of(CONNECTOR))
        if by_spool:
            await reached(lambda: agent.safekeeping.spooled == len(sent))
            port.connected.set()
        await reached(lambda: len(port.confirmed) == len(sent))
        for document, arrived in zip(sent, port.confirmed, strict=True):
            for name, value in document.items():
                expected = EXPECTED[name](value) if name in EXPECTED else value
                assert getattr(arrived, name) == expected, name

    run(scenario, critical=False, deadline_seconds=60)


def test_every_field_of_a_submission_has_its_name_and_type_in_both_further_shapes() -> None:
    for field in _FIELDS:
        kept = {each.name: each for each in msgspec.structs.fields(CheckedIM)}[field.name]
        wired = {each.name: each for each in msgspec.structs.fields(IM)}[field.name]
        assert kept.required == wired.required, field.name
        if field.name not in ("recipients", "id", "sent_at", "conversation"):  # not None there; no list
            assert kept.type == wired.type == field.type, field.name


def test_every_optional_field_is_sent_by_some_document() -> None:
    sent: set[str] = set()

    @given(documents())
    @settings(max_examples=50, database=None, suppress_health_check=list(HealthCheck))
    def gather(document: dict[str, Any]) -> None:
        sent.update(document)

    gather()
    assert sent == {field.name for field in _FIELDS}
