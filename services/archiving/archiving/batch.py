"""A batch: the IMs, statements and unreadable lines of some AMQP messages."""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from pika.spec import BasicProperties

from archiving.delivery import Delivery
from archiving.parked.parking import Parked, agent_in, number_in, numbers_in
from archiving.ranges import NumberRange
from archiving.senders import Senders
from contract.message import (
    AGENT_TYPE,
    CONFIRMED_HEADER,
    COUNT_HEADER,
    FIRST_SEQ_HEADER,
    IM,
    IM_TYPE,
    MAX_COUNT,
    POOL_HEADER,
    PUBLISHED_HEADER,
    AgentStatement,
    decode_im,
    decode_ims,
    decode_statement,
    encode_ims,
)

_MAX_TIME: Final = 1 << 52
"""Microseconds since 1970: in the year 2112."""
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Errors in reading a body that lie in the body."""


class Publish(NamedTuple):
    """A publish, for the journal: times in seconds since 1970, None if unknown."""

    agent: UUID
    pool: str
    first_seq: int
    ims: int
    published: float | None
    confirmed: float | None
    """Of the agent's publish before this one."""
    consumed: float


@dataclass
class Batch:
    """The contents of some AMQP messages."""

    ims: list[IM] = field(default_factory=list)
    statements: list[tuple[AgentStatement, Delivery]] = field(default_factory=list)
    parked: list[Parked] = field(default_factory=list)
    parked_ranges: list[NumberRange] = field(default_factory=list)
    """Numbers of the IMs in ``parked``, as far as they are known."""
    publishes: list[Publish] = field(default_factory=list)
    """Publishes of the readable IMs, for the journal."""
    promised_ranges: list[NumberRange] = field(default_factory=list)
    """Number ranges promised by the headers of messages with fewer IMs."""

    def add(self, other: "Batch") -> None:
        """Add the contents of another batch."""
        self.ims += other.ims
        self.statements += other.statements
        self.parked += other.parked
        self.parked_ranges += other.parked_ranges
        self.publishes += other.publishes
        self.promised_ranges += other.promised_ranges

    def refuse(self, im: IM, reason: str, deliveries: Iterable[Delivery]) -> None:
        """Move an IM to ``parked``, as the line that brought it."""
        self.ims.remove(im)
        line, properties = _origin_of(im, deliveries)
        self.parked.append(Parked(line, properties, reason, im.seq, im.id))
        self.parked_ranges.append(NumberRange(im.agent, im.pool, im.seq, im.seq))


def read_message(delivery: Delivery, senders: Senders) -> Batch:
    """Return the contents of an AMQP message, all of them.

    Lines that cannot be read are in ``parked``; the whole message is if its sender may not send it.
    """
    batch = Batch()
    _read(delivery, batch)
    if refusal := refusal_of(delivery, batch, senders):
        refusal = "; ".join([refusal, *(parked.reason for parked in batch.parked[:1])])
        return Batch(parked=[Parked(delivery.body, delivery.properties, refusal, None)])
    return batch


def refusal_of(delivery: Delivery, part: Batch, senders: Senders) -> str:
    """Return the reason to refuse a whole message, its numbers too; empty if it is taken.

    ``part``: its contents as far as they were read.
    """
    pools = {im.pool for im in part.ims}
    if isinstance(named := (delivery.properties.headers or {}).get(POOL_HEADER), str):
        pools.add(named)
    front_end = ""
    for statement, _ in part.statements:
        pools.add(statement.pool)
        front_end = statement.front_end
    return senders.refusal_of(delivery.properties, pools, front_end)


def _read(delivery: Delivery, batch: Batch) -> None:
    properties = delivery.properties
    if delivery.given_up:
        _park_whole(delivery, "the broker gave it up: delivered too often", batch)
        return
    try:
        if properties.type == IM_TYPE:
            ims = decode_ims(delivery.body)
            if ims:
                batch.ims += ims
                _note_publish(delivery, ims[0], ims[0].seq, len(ims), batch)
                _note_shortage(delivery, len(ims), batch)
                return
            reason = "unreadable: no IM in it"
        elif properties.type == AGENT_TYPE:
            batch.statements.append((decode_statement(delivery.body), delivery))
            return
        else:
            reason = f"unknown contract {properties.type!r}: this worker reads {IM_TYPE} and {AGENT_TYPE}"
    except _UNREADABLE as error:
        if properties.type == IM_TYPE:
            _read_lines(delivery, batch)
            return
        reason = f"unreadable: {error}"
    _park_whole(delivery, reason, batch)


def _note_publish(delivery: Delivery, im: IM, first_seq: int, ims: int, batch: Batch) -> None:
    """Add a message to the publishes. ``im``: any one of its IMs."""
    headers = delivery.properties.headers or {}
    published, confirmed = _time_in(headers, PUBLISHED_HEADER), _time_in(headers, CONFIRMED_HEADER)
    batch.publishes.append(
        Publish(im.agent, im.pool, first_seq, ims, published, confirmed, delivery.consumed)
    )


def _note_shortage(delivery: Delivery, ims: int, batch: Batch) -> None:
    """Add the range that a message's headers promise, if it holds fewer IMs."""
    numbers = numbers_in(delivery.properties.headers or {})
    if numbers is not None and ims < numbers[1]:
        batch.promised_ranges += _numbers_of(delivery.properties, *numbers)


def _time_in(headers: Mapping[str, Any], name: str) -> float | None:
    value = number_in(headers, name)
    return value / 1e6 if value is not None and 0 < value < _MAX_TIME else None


def _park_whole(delivery: Delivery, reason: str, batch: Batch) -> None:
    """Park a message unread, with the numbers that its headers name."""
    headers = delivery.properties.headers or {}
    numbers = numbers_in(headers)
    if numbers is not None:
        batch.parked_ranges += _numbers_of(delivery.properties, *numbers)
    elif named := {name: headers[name] for name in (FIRST_SEQ_HEADER, COUNT_HEADER) if name in headers}:
        reason = f"{reason}; it is not accounted for: no message has the numbers {str(named)[:100]}"
    batch.parked.append(Parked(delivery.body, delivery.properties, reason, None))


def park_unread(delivery: Delivery, reason: str, senders: Senders) -> Batch:
    """Return a message as parked unread, with its numbers if its sender may name them."""
    batch = Batch()
    _park_whole(delivery, reason, batch)
    if refusal_of(delivery, batch, senders):
        batch.parked_ranges.clear()
    return batch


def _read_lines(delivery: Delivery, batch: Batch) -> None:
    """Read the good lines of a body that has bad ones; the place of a line tells its number."""
    first, count = numbers_in(delivery.properties.headers or {}) or (None, 0)
    lines = [line for line in delivery.body.split(b"\n") if line.strip(b" \t\r")]
    if len(lines) > MAX_COUNT:
        _park_whole(delivery, f"unreadable: it has {len(lines)} lines, and not all hold an IM", batch)
        return
    good: list[IM] = []
    for place, line in enumerate(lines):
        try:
            good.append(decode_im(line))
        except _UNREADABLE as error:
            seq = first + place if first is not None and place < count else None
            batch.parked.append(Parked(line, delivery.properties, f"unreadable: {error}", seq))
            if seq is not None:
                batch.parked_ranges += _numbers_of(delivery.properties, seq, 1)
    if good:
        batch.ims += good
        _note_publish(delivery, good[0], good[0].seq if first is None else first, len(lines), batch)
    _note_shortage(delivery, len(lines), batch)


def _origin_of(im: IM, deliveries: Iterable[Delivery]) -> tuple[bytes, BasicProperties]:
    """Return the line that an IM was, and the properties of the message that brought it."""
    for delivery in deliveries:
        headers = delivery.properties.headers or {}
        first, count = numbers_in(headers) or (0, 0)
        if agent_in(headers) == im.agent and first <= im.seq < first + count:
            for line in delivery.body.split(b"\n"):
                with contextlib.suppress(*_UNREADABLE):
                    if decode_im(line) == im:
                        return line, delivery.properties
    return encode_ims([im]).rstrip(), BasicProperties(type=IM_TYPE)


def _numbers_of(properties: BasicProperties, first: int, count: int) -> list[NumberRange]:
    """Return so many numbers of a message's agent; none if its headers don't name one."""
    headers = properties.headers or {}
    agent, pool = agent_in(headers), headers.get(POOL_HEADER)
    return (
        []
        if agent is None or not isinstance(pool, str)
        else [NumberRange(agent, pool, first, first + count - 1)]
    )
