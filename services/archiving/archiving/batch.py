"""A batch: what some AMQP messages hold, told apart into IMs, statements and what nobody can read."""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec
from pika.spec import BasicProperties

from archiving.archive import Numbers
from archiving.consumer import Delivery
from archiving.parking import Parked, agent_in, number_in
from contract.message import (
    AGENT_TYPE,
    CONFIRMED_HEADER,
    COUNT_HEADER,
    FIRST_SEQ_HEADER,
    IM,
    IM_TYPE,
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


class Publish(NamedTuple):
    """An AMQP message of IMs as it came: all times in seconds since 1970, None if not told."""

    first: IM
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
    numbers: list[Numbers] = field(default_factory=list)
    """The agents' numbers of what is in ``parked``, as far as they are known."""
    publishes: list[Publish] = field(default_factory=list)
    """For the trace: of what could be read."""

    def refuse(self, im: IM, reason: str, deliveries: Iterable[Delivery]) -> None:
        """Move an IM to what is to be parked, as it came."""
        self.ims.remove(im)
        line, properties = _origin_of(im, deliveries)
        self.parked.append(Parked(line, properties, reason, im.seq, im.id))
        self.numbers.append(Numbers(im.agent, im.pool, im.seq, im.seq))


def read_batch(deliveries: Iterable[Delivery]) -> Batch:
    """Read what AMQP messages hold; what cannot be read is in ``parked``, nothing is left out."""
    batch = Batch()
    for delivery in deliveries:
        _read(delivery, batch)
    return batch


def _read(delivery: Delivery, batch: Batch) -> None:
    properties = delivery.properties
    if delivery.parked:
        park_whole(delivery, "the broker gave it up: delivered too often", batch)
        return
    try:
        if properties.type == IM_TYPE:
            ims = decode_ims(delivery.body)
            batch.ims += ims
            _note_publish(delivery, ims, batch)
            return
        if properties.type == AGENT_TYPE:
            batch.statements.append((decode_statement(delivery.body), delivery))
            return
        reason = f"unknown contract {properties.type!r}: this worker reads {IM_TYPE} and {AGENT_TYPE}"
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if properties.type == IM_TYPE:
            _read_lines(delivery, batch)
            return
        reason = f"unreadable: {error}"
    park_whole(delivery, reason, batch)


def _note_publish(delivery: Delivery, ims: list[IM], batch: Batch) -> None:
    if ims:
        headers = delivery.properties.headers or {}
        published, confirmed = _time_in(headers, PUBLISHED_HEADER), _time_in(headers, CONFIRMED_HEADER)
        batch.publishes.append(Publish(ims[0], len(ims), published, confirmed, delivery.consumed))


def _time_in(headers: Mapping[str, Any], name: str) -> float | None:
    value = number_in(headers, name)
    return value / 1e6 if value is not None and 0 < value < _MAX_TIME else None


def park_whole(delivery: Delivery, reason: str, batch: Batch) -> None:
    """Park a message without a look into it; its headers tell the numbers of what it holds."""
    batch.parked.append(Parked(delivery.body, delivery.properties, reason, None))
    headers = delivery.properties.headers or {}
    count, first = number_in(headers, COUNT_HEADER), number_in(headers, FIRST_SEQ_HEADER)
    if count is not None and first is not None:
        _account(delivery.properties, first, first + count - 1, batch)


def _read_lines(delivery: Delivery, batch: Batch) -> None:
    """Read the good lines of a body that has bad ones; the place of a line tells its number."""
    first = number_in(delivery.properties.headers or {}, FIRST_SEQ_HEADER)
    lines = [line for line in delivery.body.split(b"\n") if line.strip()]
    for place, line in enumerate(lines):
        try:
            batch.ims.append(decode_im(line))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            seq = None if first is None else first + place
            batch.parked.append(Parked(line, delivery.properties, f"unreadable: {error}", seq))
            if seq is not None:
                _account(delivery.properties, seq, seq, batch)
    if not lines:
        batch.parked.append(Parked(delivery.body, delivery.properties, "unreadable: no IM in it", None))


def _origin_of(im: IM, deliveries: Iterable[Delivery]) -> tuple[bytes, BasicProperties]:
    """Return the line that an IM was, and the properties of the message that brought it."""
    for delivery in deliveries:
        headers = delivery.properties.headers or {}
        first, count = number_in(headers, FIRST_SEQ_HEADER), number_in(headers, COUNT_HEADER)
        if agent_in(headers) == im.agent and first is not None and first <= im.seq < first + (count or 0):
            for line in delivery.body.split(b"\n"):
                with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                    if decode_im(line) == im:
                        return line, delivery.properties
    return encode_ims([im]).rstrip(), BasicProperties(type=IM_TYPE)


def _account(properties: BasicProperties, first: int, last: int, batch: Batch) -> None:
    headers = properties.headers or {}
    agent, pool = agent_in(headers), headers.get(POOL_HEADER)
    if agent is not None and isinstance(pool, str) and 0 < first <= last:
        batch.numbers.append(Numbers(agent, pool, first, last))
