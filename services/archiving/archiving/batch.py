"""A batch: what some AMQP messages hold, told apart into IMs, statements and what nobody can read."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

import msgspec
from pika.spec import BasicProperties

from archiving.archive import Numbers
from archiving.consumer import Delivery
from archiving.parking import Parked
from contract.message import (
    AGENT_HEADER,
    AGENT_TYPE,
    COUNT_HEADER,
    FIRST_SEQ_HEADER,
    IM,
    IM_TYPE,
    POOL_HEADER,
    AgentStatement,
    decode_im,
    decode_ims,
    decode_statement,
    encode_ims,
)


@dataclass
class Batch:
    """The contents of some AMQP messages."""

    ims: list[IM] = field(default_factory=list)
    statements: list[tuple[AgentStatement, Delivery]] = field(default_factory=list)
    parked: list[Parked] = field(default_factory=list)
    numbers: list[Numbers] = field(default_factory=list)
    """The agents' numbers of what is in ``parked``, as far as they are known."""

    def refuse(self, im: IM, reason: str, deliveries: Iterable[Delivery]) -> None:
        """Move an IM to what is to be parked."""
        properties = next(
            (d.properties for d in deliveries if im.agent == _agent_of(d.properties)),
            BasicProperties(type=IM_TYPE),
        )
        self.ims.remove(im)
        self.parked.append(Parked(encode_ims([im]).rstrip(), properties, reason, im.seq))
        self.numbers.append(Numbers(im.agent, im.pool, im.seq, im.seq))


def read_batch(deliveries: Iterable[Delivery]) -> Batch:
    """Read what AMQP messages hold; what cannot be read is in ``parked``, nothing is left out."""
    batch = Batch()
    for delivery in deliveries:
        _read(delivery, batch)
    return batch


def _read(delivery: Delivery, batch: Batch) -> None:
    properties = delivery.properties
    try:
        if properties.type == IM_TYPE:
            batch.ims += decode_ims(delivery.body)
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
    batch.parked.append(Parked(delivery.body, properties, reason, None))
    count, first = _header(properties, COUNT_HEADER), _header(properties, FIRST_SEQ_HEADER)
    if count is not None and first is not None:
        _account(properties, first, first + count - 1, batch)


def _read_lines(delivery: Delivery, batch: Batch) -> None:
    """Read the good lines of a body that has bad ones; the place of a line tells its number."""
    first = _header(delivery.properties, FIRST_SEQ_HEADER)
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


def _account(properties: BasicProperties, first: int, last: int, batch: Batch) -> None:
    agent, pool = _agent_of(properties), (properties.headers or {}).get(POOL_HEADER)
    if agent is not None and isinstance(pool, str) and 0 < first <= last:
        batch.numbers.append(Numbers(agent, pool, first, last))


def _header(properties: BasicProperties, name: str) -> int | None:
    value = (properties.headers or {}).get(name)
    return value if isinstance(value, int) else None


def _agent_of(properties: BasicProperties) -> UUID | None:
    try:
        return UUID((properties.headers or {}).get(AGENT_HEADER))
    except (TypeError, ValueError, AttributeError):
        return None
