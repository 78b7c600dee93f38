"""The IM on the wire.

An AMQP message carries one or more IMs of one archiving agent, one JSON document a line
(``application/x-ndjson``), numbered without a gap. Its headers have their number (``count``), their agent
(``agent``, ``pool``) and the first number (``first_seq``), so that an unreadable body is accounted for as
well. Further headers serve the trace of an IM: when it was ``published``, when the agent's message before it
was ``confirmed``, and OpenTelemetry's context.
"""

import base64
import binascii
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, Final, Literal
from uuid import UUID, SafeUUID

import msgspec

CONTENT_TYPE: Final = "application/x-ndjson"
IM_TYPE: Final = "lcs.im.v1"
"""AMQP ``type`` of a message of IMs; the number changes only with a change that old readers can't read."""
AGENT_TYPE: Final = "lcs.agent.v1"
"""AMQP ``type`` of an agent's statement."""

COUNT_HEADER: Final = "count"
AGENT_HEADER: Final = "agent"
POOL_HEADER: Final = "pool"
FIRST_SEQ_HEADER: Final = "first_seq"
PEOPLE_HEADER: Final = "people"
"""The recipients of all its IMs, summed up: workers make moderate batches by it."""
MAX_SEQ: Final = 10**13
"""No agent gets so far: at 35,000 IMs a second, the most that a broker takes, it would need nine years."""
MAX_COUNT: Final = 100_000
"""No AMQP message holds more IMs."""
PUBLISHED_HEADER: Final = "published"
"""When this message was published: microseconds since 1970, by the front end's clock."""
CONFIRMED_HEADER: Final = "confirmed"
"""When the confirm of the agent's message of IMs before this one came; left out if there was none."""
TRACEPARENT_HEADER: Final = "traceparent"
"""OpenTelemetry's context (W3C Trace Context) of the first IM of this message that is traced."""
TRACEPARENTS_HEADER: Final = "traceparents"
"""The contexts of all that are: number of the IM, as text, to its traceparent."""

Time = Annotated[datetime, msgspec.Meta(tz=True)]
Encoding = Literal["text", "base64"]
Scope = Literal["internal", "federated"]


class AsSent(msgspec.Struct, kw_only=True, gc=False, omit_defaults=True):
    """Fields that few IMs have, and that go as they are from the caller's request to the archive.

    A field added here is one of the request, of the front end's IM and spool, and of the IM on the queue.
    """

    content_encoding: Annotated[
        str,
        msgspec.Meta(
            description="how the content is compressed (gzip, deflate, …); then it is sent in base64"
        ),
    ] = ""
    """How the body's bytes are compressed (``Content-Encoding``: RFC 3261, 20.12), "" if they are not."""


# mypy takes a struct for a dataclass; msgspec lets a frozen one have a base that is not.
class IM(AsSent, frozen=True, kw_only=True, gc=False, omit_defaults=True):  # type: ignore[misc]
    """One IM that policy archives, as the archiving agent puts it on the queue."""

    id: UUID
    """UUIDv7 (RFC 9562): minted by the front end, or brought by the caller to make retries safe."""
    sent_at: Time
    """The time inside ``id``: UTC, milliseconds. So ``id`` alone is the key of an IM."""
    sender: str
    """Canonical address: see ``contract.address``."""
    recipients: tuple[str, ...]
    """Canonical addresses, at least one; more than one makes a group IM."""
    conversation: str
    """One made of the participants, or the caller's: see ``contract.conversation.conversation_key``."""
    scope: Scope
    """``internal`` if every participant is in a local domain, else ``federated``."""
    content_type: str
    """MIME type of the body as sent."""
    encoding: Encoding
    """``text``: ``body`` is the text. ``base64``: ``body`` is the content's bytes in base64."""
    body: str
    """Never altered on the way."""
    pool: str
    agent: UUID
    """The archiving agent that accepted this IM; it numbers its IMs 1, 2, 3, … in ``seq``."""
    seq: int
    policy_version: int
    rule: str
    """The rule by which this IM is archived: a name of ``contract.policy``."""
    received_at: Time | None = None
    """When the front end took it in, by its own clock: UTC, milliseconds. None from older front ends."""
    spelled: tuple[str, ...] = ()
    """Sender and recipients as they came, if one of them differs from its canonical form; else empty."""


class AgentStatement(msgspec.Struct, frozen=True, kw_only=True):
    """How far an archiving agent got: every number up to ``confirmed`` was confirmed by the broker."""

    agent: UUID
    pool: str
    front_end: str
    confirmed: int
    ended: bool = False
    """True when the agent accepts no more: a clean stop, or a publish of unknown outcome."""
    at: Time
    confirmed_at: Time | None = None
    """When the last of these confirms came; None if that is not known."""
    uncounted: tuple[tuple[int, int], ...] = ()
    """Ranges of numbers, also beyond that, under which no IM was accepted: it was refused, or has another."""


_encoder = msgspec.json.Encoder()
_im_decoder = msgspec.json.Decoder(IM)
_statement_decoder = msgspec.json.Decoder(AgentStatement)


def encode_ims(ims: Sequence[IM]) -> bytes:
    """Return the AMQP body of some IMs: one JSON document a line."""
    return _encoder.encode_lines(ims)


def headers_of(ims: Sequence[IM]) -> dict[str, str | int]:
    """Return the AMQP headers of a message of IMs, which one agent numbered without a gap."""
    first = ims[0]
    return {
        COUNT_HEADER: len(ims),
        AGENT_HEADER: str(first.agent),
        POOL_HEADER: first.pool,
        FIRST_SEQ_HEADER: first.seq,
    }


def decode_im(line: bytes) -> IM:
    """Return the IM of one line.

    Raises msgspec.DecodeError (msgspec.ValidationError names the field) or UnicodeDecodeError; RecursionError
    if the document is nested deeper than this Python can follow: a thousandfold, or more.
    """
    return _im_decoder.decode(line)


def decode_ims(body: bytes) -> list[IM]:
    """Return the IMs of an AMQP body; raises as ``decode_im`` does if any line is bad."""
    return _im_decoder.decode_lines(body)


def encode_statement(statement: AgentStatement) -> bytes:
    """Return the AMQP body of an agent's statement."""
    return _encoder.encode(statement)


def decode_statement(body: bytes) -> AgentStatement:
    """Return the statement of an AMQP body; raises msgspec.DecodeError."""
    return _statement_decoder.decode(body)


_COUNTER_BITS: Final = 42
_LAYOUT: Final = 0x7 << 76 | 0b10 << 62  # version and variant: RFC 9562, 4
_MOST_AHEAD_MS: Final = 86_400_000
_new, _set, _UNKNOWN = object.__new__, object.__setattr__, SafeUUID.unknown


class Minting:
    """Ids of a process: the time, a counter of 42 bits, 32 random bits (RFC 9562, 6.2)."""

    def __init__(self) -> None:
        self._last_ms = 0
        self.begin()

    def begin(self) -> None:
        """Start the counter at random in its lower half; in a child too, which else mints the same ids."""
        self._count = int.from_bytes(os.urandom(8)) >> 64 - _COUNTER_BITS + 1
        self._random: list[int] = []

    def make_id(self, at_ms: int | None = None) -> UUID:
        """Mint a UUIDv7 (RFC 9562, 5.7) for a time in milliseconds since 1970, by default now.

        Of ids for one time, the one minted later is greater. So is, of those for now, the one minted later:
        their time waits for a clock that was set back, up to a day (docs/decisions/0024).
        """
        self._count = count = self._count + 1
        if count >> _COUNTER_BITS:
            self.begin()
            self._last_ms += 1
            count = self._count
        if at_ms is None:
            at_ms = time.time_ns() // 1_000_000
            if 0 < self._last_ms - at_ms <= _MOST_AHEAD_MS:
                at_ms = self._last_ms
            else:
                self._last_ms = at_ms
        try:
            random = self._random.pop()
        except IndexError:  # fetched many at a time: a call for each id would be its greatest cost
            self._random = memoryview(os.urandom(4096)).cast("I").tolist()
            random = self._random.pop()
        made = _new(UUID)  # UUID() would check again, for twice the time, what is known here
        _set(made, "int", at_ms << 80 | _LAYOUT | count >> 30 << 64 | (count & 0x3FFF_FFFF) << 32 | random)
        _set(made, "is_safe", _UNKNOWN)
        return made

    def seconds_ahead(self) -> float:
        """Return how far the time in ids for now is ahead of the clock; 0 while they agree."""
        return max(0, self._last_ms - time.time_ns() // 1_000_000) / 1000


_minting = Minting()
os.register_at_fork(after_in_child=_minting.begin)
make_id = _minting.make_id
seconds_ahead = _minting.seconds_ahead


def milliseconds_of(im_id: UUID) -> int:
    """Return the time inside a UUIDv7, in milliseconds since 1970."""
    return im_id.int >> 80


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def time_of(im_id: UUID) -> datetime:
    """Return the time inside a UUIDv7. Raises ValueError if it is no UUIDv7 or beyond the year 9999."""
    if im_id.version != 7:
        raise ValueError("id is not a UUIDv7 (RFC 9562)")
    try:
        return time_at(milliseconds_of(im_id))
    except OverflowError:
        raise ValueError("the time inside id is beyond the year 9999") from None


@lru_cache(maxsize=1024)
def time_at(milliseconds: int) -> datetime:
    """Return a time given in milliseconds since 1970. Raises OverflowError beyond the year 9999."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


def content_of(im: IM) -> bytes:
    """Return the body's bytes. Raises ValueError if ``body`` is not base64, though ``encoding`` says so."""
    if im.encoding == "text":
        return im.body.encode()
    try:
        return base64.b64decode(im.body, validate=True)
    except binascii.Error as error:
        raise ValueError(f"body is not base64: {error}") from None


def schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON schemas of the contract by AMQP type; golden copies are in contract/schemas/."""
    return {IM_TYPE: msgspec.json.schema(IM), AGENT_TYPE: msgspec.json.schema(AgentStatement)}
