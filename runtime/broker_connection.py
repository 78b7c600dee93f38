"""Connections of aio-pika under a supervisor of the service's own: they end when the service says so."""

import asyncio
import contextlib
from typing import Final

import aio_pika
from aio_pika.abc import AbstractConnection, TimeoutType

_CLOSE_SECONDS: Final = 1.0


class PlainConnection(aio_pika.Connection):
    """A connection that is closed if it can't be made.

    Else aio-pika closes it when it is garbage, in any thread, and Python warns of a coroutine that was never
    awaited.
    """

    async def connect(self, timeout: TimeoutType = None) -> None:  # noqa: ASYNC109 - as aio-pika has it
        """Connect, within ``timeout`` seconds."""
        try:
            await super().connect(timeout)
        except BaseException:
            await self.close()
            raise


async def close(connection: AbstractConnection) -> None:
    """Close a connection, as far as the broker lets us within a second."""
    with contextlib.suppress(Exception):  # the connection is done with, whatever the broker says
        async with asyncio.timeout(_CLOSE_SECONDS):
            await connection.close()


def raise_if_cancelled() -> None:
    """Raise the cancellation of this task again, if a library swallowed it.

    aiormq makes a failed connect of a cancelled one, and ``wait_for`` of Python 3.11 may go on as if nothing
    had been.
    """
    if (task := asyncio.current_task()) is not None and task.cancelling():
        raise asyncio.CancelledError
