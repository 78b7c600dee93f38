"""A connection to the broker that can't be made leaves nothing behind."""

import asyncio
import contextlib

from aio_pika.connection import make_url

from runtime.broker_connection import PlainConnection


def test_a_connection_that_cannot_be_made_is_closed() -> None:
    async def fail() -> PlainConnection:
        connection = PlainConnection(make_url("amqp://127.0.0.1:1/"))
        with contextlib.suppress(ConnectionError):
            await connection.connect(timeout=5)
        return connection

    assert asyncio.run(fail()).is_closed  # else aio-pika would close it when it is forgotten, in any thread
