"""IMs that cannot be stored wait in ``lcslog.parked``, where an operator sees them and can replay them."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import pika
from pika.spec import BasicProperties

from contract.message import COUNT_HEADER, FIRST_SEQ_HEADER, PARKED_AT_HEADER, REASON_HEADER
from contract.topology import INGEST_EXCHANGE, PARK_EXCHANGE, PARKED_QUEUE, QUEUE

log = logging.getLogger("archiving")


class Parked(NamedTuple):
    """What could not be stored: one IM's line, or a whole body if nobody can tell its lines."""

    body: bytes
    properties: BasicProperties
    """Of the message that brought it."""
    reason: str
    seq: int | None
    """The IM's number, if it is known."""


def park(amqp_url: str, parked: Sequence[Parked]) -> None:
    """Publish to ``lcs.park`` and return when the broker has confirmed all. Raises pika's AMQPError.

    Parking is rare: a connection of its own each time is simpler than one kept alive.
    """
    with pika.BlockingConnection(pika.URLParameters(amqp_url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for item in parked:
            headers = dict(item.properties.headers or {})
            headers |= {REASON_HEADER: item.reason[:1000], PARKED_AT_HEADER: datetime.now(UTC).isoformat()}
            if item.seq is not None:
                headers |= {COUNT_HEADER: 1, FIRST_SEQ_HEADER: item.seq}
            channel.basic_publish(
                PARK_EXCHANGE, QUEUE, item.body, _persistent(item.properties, headers), mandatory=True
            )
            log.error("parked an IM", extra={"reason": item.reason[:300], "seq": item.seq})


def replay(amqp_url: str) -> int:
    """Put every IM that is parked now back on ``lcslog``; return how many AMQP messages that were.

    ``amqp_url``: of the user ``replay``. Each leaves the parked queue only when the broker has confirmed
    it on ``lcslog``. What still cannot be stored will be parked again. Raises pika's AMQPError.
    """
    with pika.BlockingConnection(pika.URLParameters(amqp_url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        parked: int = channel.queue_declare(PARKED_QUEUE, passive=True).method.message_count
        for done in range(parked):
            method, properties, body = channel.basic_get(PARKED_QUEUE)
            if method is None:
                return done
            headers = {
                name: value
                for name, value in (properties.headers or {}).items()
                if name not in (REASON_HEADER, PARKED_AT_HEADER) and not name.startswith("x-")
            }
            channel.basic_publish(
                INGEST_EXCHANGE, QUEUE, body, _persistent(properties, headers), mandatory=True
            )
            channel.basic_ack(method.delivery_tag)
        return parked


def _persistent(properties: BasicProperties, headers: dict[str, object]) -> BasicProperties:
    return BasicProperties(
        content_type=properties.content_type,
        type=properties.type,
        message_id=properties.message_id,
        timestamp=properties.timestamp,
        app_id=properties.app_id,
        headers=headers,
        delivery_mode=pika.DeliveryMode.Persistent.value,
    )
