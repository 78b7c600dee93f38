"""A connection to the broker that can't be made leaves nothing behind."""

import asyncio
import contextlib

import aio_pika
import pytest
from aio_pika.connection import make_url

from admin_api.policy.announcements import _Connection as NoticesConnection
from frontend.publisher import PlainConnection


@pytest.mark.parametrize("connection_class", [PlainConnection, NoticesConnection])
def test_a_connection_that_cannot_be_made_is_closed(connection_class: type[aio_pika.Connection]) -> None:
    async def fail() -> aio_pika.Connection:
        connection = connection_class(make_url("amqp://127.0.0.1:1/"))
        with contextlib.suppress(ConnectionError):
            await connection.connect(timeout=5)
        return connection

    assert asyncio.run(fail()).is_closed  # else aio-pika would close it when it is forgotten, in any thread
