"""Announcements: front ends learn at once that policy has a new version; without one, at a check-in."""

import asyncio
import logging
from typing import Annotated

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractExchange
from fastapi import Depends, Request

from admin_api import metrics
from contract.topology import POLICY_EXCHANGE
from runtime.broker import BrokerAddress
from runtime.broker_connection import PlainConnection, close, raise_if_cancelled

log = logging.getLogger("admin-api")

_TIMEOUT = 3.0
_LONGEST_PAUSE = 10.0


class Announcements:
    """Publishes the newest version to the fanout ``lcs.policy``; of several at once only the last.

    A version that could not be sent while the broker was away is sent when it is back.
    """

    def __init__(self, amqp_url: str) -> None:
        """``amqp_url``: of the user ``admin-api``. Nothing happens before ``run``."""
        self._nodes = BrokerAddress(amqp_url)
        self._version = 0
        self._untold = False
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.connected = False

    def announce(self, version: int) -> None:
        """Announce a version to the front ends, soon. May be called from any thread."""
        self._version = version  # not the highest: after a restore numbers go on from an older one
        self._untold = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake.set)

    async def run(self) -> None:
        """Keep a connection and send announcements, until cancelled."""
        self._loop = asyncio.get_running_loop()
        pause = 0.1
        while True:
            try:
                connection = await aio_pika.connect(
                    self._nodes.next_url(), connection_class=PlainConnection, timeout=_TIMEOUT
                )
                try:
                    await self._serve(connection)
                finally:
                    await close(connection)
            except Exception as error:  # whatever ends a connection, the next one mends
                raise_if_cancelled()
                reason = type(error).__name__
            else:
                reason = "closed by the broker"
                pause = 0.1
            finally:
                self._note(connected=False)
            log.warning("no notices: the broker is out of reach", extra={"reason": reason, "retry_s": pause})
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _serve(self, connection: AbstractConnection) -> None:
        closed = asyncio.Event()

        def end(*_: object) -> None:
            closed.set()
            self._wake.set()

        connection.close_callbacks.add(end)
        async with asyncio.timeout(_TIMEOUT):
            channel = connection.channel(on_return_raises=False)
            await channel.initialize()
        channel.close_callbacks.add(end)
        # Not declared and not looked up: this user may do neither.
        exchange = await channel.get_exchange(POLICY_EXCHANGE, ensure=False)
        self._note(connected=True)
        log.info("notices go to the broker")
        while not closed.is_set():
            await self._send(exchange)
            await self._wake.wait()
            self._wake.clear()

    async def _send(self, exchange: AbstractExchange) -> None:
        while self._untold:
            self._untold = False
            # Not mandatory: with no front end listening there is nobody to tell.
            message = aio_pika.Message(b"%d" % self._version, content_type="text/plain")
            try:
                await exchange.publish(message, routing_key="", mandatory=False, timeout=_TIMEOUT)
            except BaseException:
                self._untold = True
                raise
            metrics.ANNOUNCEMENTS.inc()

    def _note(self, *, connected: bool) -> None:
        self.connected = connected
        metrics.BROKER_CONNECTED.set(connected)


def _announcements_of(request: Request) -> Announcements:
    announcements: Announcements = request.app.state.announcements
    return announcements


AnnouncementsDep = Annotated[Announcements, Depends(_announcements_of)]
