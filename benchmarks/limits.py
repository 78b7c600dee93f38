"""The limits that the services are measured against: the same work with nothing of ours around it."""

import time
from collections.abc import Sequence
from itertools import islice
from typing import Any
from uuid import uuid4

import pika
import psycopg

from archiving.archive import Archive
from archiving.rows import COLUMNS, join_rows
from contract.message import CONTENT_TYPE, COUNT_HEADER, IM, IM_TYPE, encode_ims, headers_of, make_id, time_of
from contract.topology import INGEST_EXCHANGE, QUEUE
from runtime.broker import BrokerAddress

_WINDOW = 2000
"""Messages on their way to their confirm at once, in the raw rate."""
_NAMES = ", ".join(COLUMNS)
_COPY = f"COPY archive.messages ({_NAMES}) FROM STDIN (FORMAT BINARY)".encode()
_COPY_BATCH = f"COPY pg_temp.batch ({_NAMES}) FROM STDIN (FORMAT BINARY)".encode()
_INSERT = f"INSERT INTO archive.messages ({_NAMES}) SELECT {_NAMES} FROM pg_temp.batch".encode()  # noqa: S608 - ours


def make_ims(count: int, *, users: int = 20_000) -> list[IM]:
    """Return IMs of one agent, as a front end would publish them, between some users."""
    agent = uuid4()
    ims = []
    for seq in range(1, count + 1):
        im_id = make_id()
        people = f"sip:user{seq * 7919 % users}@contoso.com", f"sip:user{seq * 104_729 % users}@contoso.com"
        ims.append(
            IM(
                id=im_id, sent_at=time_of(im_id), sender=people[0], recipients=(people[1],),
                conversation="p2p:" + "|".join(sorted(people)), scope="internal", content_type="text/plain",
                encoding="text", body=f"{seq} ".ljust(400, "x"), pool="pool1", agent=agent, seq=seq,
                policy_version=1, rule="internal-everyone",
            )
        )  # fmt: skip
    return ims


def _properties_of(ims: Sequence[IM], user: str) -> pika.BasicProperties:
    return pika.BasicProperties(
        type=IM_TYPE, content_type=CONTENT_TYPE, headers=headers_of(ims), delivery_mode=2, user_id=user
    )


def measure_confirms(amqp_url: str, ims: Sequence[IM]) -> float:
    """Return messages/s of pika's asynchronous adapter, one IM a message, many on their way at once."""
    user = BrokerAddress(amqp_url).user
    waiting = iter(ims)
    done = 0
    started = 0.0

    def on_open(connection: Any) -> None:
        connection.channel(on_open_callback=on_channel)

    def on_channel(channel: Any) -> None:
        nonlocal started
        channel.confirm_delivery(lambda frame: on_confirm(channel, frame))
        started = time.perf_counter()
        publish(channel, _WINDOW)

    def publish(channel: Any, count: int) -> None:
        for im in islice(waiting, count):
            properties = pika.BasicProperties(
                type=IM_TYPE,
                content_type=CONTENT_TYPE,
                headers=headers_of([im]),
                delivery_mode=2,
                user_id=user,
            )
            channel.basic_publish(INGEST_EXCHANGE, QUEUE, encode_ims([im]), properties, mandatory=True)

    last_tag = 0

    def on_confirm(channel: Any, frame: Any) -> None:
        nonlocal done, last_tag
        count = frame.method.delivery_tag - last_tag if frame.method.multiple else 1
        last_tag = max(last_tag, frame.method.delivery_tag) if frame.method.multiple else last_tag
        done += count
        if frame.method.delivery_tag >= len(ims):
            channel.connection.close()
        else:
            publish(channel, count)

    connection = pika.SelectConnection(pika.URLParameters(amqp_url), on_open_callback=on_open)
    connection.add_on_close_callback(lambda *_: connection.ioloop.stop())
    connection.ioloop.start()
    return len(ims) / (time.perf_counter() - started)


def publish_groups(amqp_url: str, ims: Sequence[IM], *, size: int) -> float:
    """Publish many IMs a message, each confirmed before the next; return IM/s."""
    user = BrokerAddress(amqp_url).user
    with pika.BlockingConnection(pika.URLParameters(amqp_url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        started = time.perf_counter()
        for first in range(0, len(ims), size):
            group = ims[first : first + size]
            properties = pika.BasicProperties(
                type=IM_TYPE,
                content_type=CONTENT_TYPE,
                headers=headers_of(group),
                delivery_mode=2,
                user_id=user,
            )
            channel.basic_publish(INGEST_EXCHANGE, QUEUE, encode_ims(group), properties, mandatory=True)
        return len(ims) / (time.perf_counter() - started)


def measure_consume(amqp_url: str, ims: int) -> float:
    """Consume so many IMs from the queue, acknowledged as the worker does it; return IM/s."""
    parameters = pika.URLParameters(amqp_url)
    parameters.frame_max = 16_384
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        channel.basic_qos(prefetch_count=300)
        taken = 0
        started = time.perf_counter()
        for number, (method, properties, _) in enumerate(channel.consume(QUEUE)):
            taken += properties.headers[COUNT_HEADER]
            if number % 8 == 0 or taken >= ims:
                channel.basic_ack(method.delivery_tag, multiple=True)
            if taken >= ims:
                break
        seconds = time.perf_counter() - started
        channel.cancel()
        return taken / seconds


def measure_copy(owner_url: str, archive: Archive, ims: Sequence[IM], *, size: int) -> tuple[float, float]:
    """Return rows/s of COPY into ``messages`` itself, and of COPY + INSERT … ON CONFLICT in batches.

    The rows are packed beforehand, half of them for each figure.
    """
    batches = [
        (len(ims[first : first + size]), join_rows(archive.numbers.pack(ims[first : first + size])))
        for first in range(0, len(ims), size)
    ]
    half = len(batches) // 2
    with psycopg.connect(owner_url) as connection:
        started = time.perf_counter()
        for _, rows in batches[:half]:
            with connection.cursor().copy(_COPY) as copy:
                copy.write(rows)
            connection.commit()
        raw = sum(count for count, _ in batches[:half]) / (time.perf_counter() - started)

        connection.execute("SELECT archive.open_batch(%s::text[])", [list(COLUMNS)])
        connection.commit()
        started = time.perf_counter()
        for _, rows in batches[half:]:
            with connection.cursor().copy(_COPY_BATCH) as copy:
                copy.write(rows)
            connection.execute(_INSERT + b" ON CONFLICT DO NOTHING")
            connection.commit()
        return raw, sum(count for count, _ in batches[half:]) / (time.perf_counter() - started)
