"""The port to the broker: publishes one AMQP message, and returns or raises how that went."""

import asyncio
import logging
import time
from collections.abc import Awaitable
from typing import Final

import aio_pika
import msgspec
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange, HeadersType
from aio_pika.exceptions import DeliveryError
from prometheus_client import Gauge

from contract.message import CONTENT_TYPE
from contract.topology import INGEST_EXCHANGE, QUEUE
from runtime.broker import BrokerAddress
from runtime.broker_connection import PlainConnection, close, raise_if_cancelled

log = logging.getLogger("frontend")

_MIN_PAUSE: Final = 0.05
_MAX_PAUSE: Final = 1.0
_CONNECT_SECONDS: Final = 3.0
_HEARTBEAT_SECONDS: Final = 10
OUT_OF_REACH: Final = "the broker is out of reach"


class RefusedError(Exception):
    """The message is definitely not on the queue."""

    why = "the broker refuses messages: its queue is full, or gone"


class UnreachableError(RefusedError):
    """There is no connection; the publisher's ``trouble`` says why."""

    why = ""


class UnknownError(Exception):
    """The message may be on the queue, or may turn up there later."""

    why = "the broker does not confirm"


class _Link(msgspec.Struct, eq=False):
    """A connection with a channel for publishing."""

    connection: AbstractConnection
    exchange: AbstractExchange
    closed: asyncio.Event
    failed: asyncio.Event
    """A publish on it had no answer in time."""


class Publisher:
    """One connection to the broker, made again to its next node whenever it breaks.

    A plain connection under a supervisor of our own: aio-pika's robust one does not publish again the
    messages under way, and hides that there were any (aio-pika issues 231, 379, 563, 636).
    """

    def __init__(
        self,
        amqp_url: str,
        name: str,
        exchange: str = INGEST_EXCHANGE,
        queue: str = QUEUE,
        gauge: Gauge | None = None,
    ) -> None:
        """``name`` is shown in the broker's list of connections; ``gauge`` is 1 while there is one."""
        self._nodes = BrokerAddress(amqp_url)
        self.user = self._nodes.user
        """The user that each message names; workers tell by it which front end sent the message."""
        self._exchange, self._queue = exchange, queue
        self._gauge = gauge
        self._name = name
        self._link: _Link | None = None
        self.connected = asyncio.Event()
        """Set while the broker takes messages."""
        self.trouble = OUT_OF_REACH
        """Why the broker is not ``connected``."""

    async def run(self) -> None:
        """Keep a connection until cancelled."""
        pause = _MIN_PAUSE
        trouble = ""
        while True:
            try:
                await self._connect()
                pause, trouble = _MIN_PAUSE, ""
                await self._watch()
                log.warning("connection to the broker lost")
            except (Exception, asyncio.CancelledError) as error:  # aiormq raises either in mid-opening
                raise_if_cancelled()
                if repr(error) != trouble:  # else it is known: a long outage needs no line for every try
                    trouble = repr(error)
                    log.warning("broker out of reach", extra={"error": trouble[:200]})
            finally:
                await self._disconnect()
            await asyncio.sleep(pause)
            pause = min(pause * 2, _MAX_PAUSE)

    async def _connect(self) -> None:
        connection = await aio_pika.connect(
            self._nodes.next_url(),
            connection_class=PlainConnection,
            timeout=_CONNECT_SECONDS,
            heartbeat=_HEARTBEAT_SECONDS,
            client_properties={"connection_name": self._name},
        )
        closed = asyncio.Event()
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                channel: AbstractChannel = connection.channel(publisher_confirms=True, on_return_raises=True)
                await channel.initialize()
                exchange = await channel.get_exchange(self._exchange, ensure=False)
        except BaseException:
            await close(connection)
            raise
        connection.close_callbacks.add(lambda *_: closed.set())
        channel.close_callbacks.add(lambda *_: closed.set())
        self._link = _Link(connection, exchange, closed, asyncio.Event())

    async def _watch(self) -> None:
        """Return when the connection is of no use any more."""
        link = self._link
        assert link is not None
        while True:
            self._set_connected(True)
            await _first_of(link.closed.wait(), link.failed.wait())
            if link.closed.is_set() or not await _is_blocked(link.connection):
                return
            # An alarm: the broker reads nothing from whoever publishes, and stores it all once it is over. To
            # connect again would leave it one more connection to read each time.
            self.trouble = "the broker takes nothing: it is short of memory or disk"
            log.warning(self.trouble)
            await _first_of(link.closed.wait(), _unblocked(link.connection))
            if link.closed.is_set():
                return
            link.failed.clear()

    def _set_connected(self, connected: bool) -> None:
        if connected == self.connected.is_set():
            return
        self.trouble = OUT_OF_REACH
        if self._gauge is not None:
            self._gauge.set(connected)
        if connected:
            log.info("connected to the broker", extra={"to_publish_on": self._queue})
            self.connected.set()
        else:
            self.connected.clear()

    async def _disconnect(self) -> None:
        self._set_connected(False)
        link, self._link = self._link, None
        if link is not None:
            await close(link.connection)

    async def publish(
        self,
        body: bytes,
        headers: HeadersType,
        type_: str,
        message_id: str,
        *,
        seconds: float,
    ) -> None:
        """Put a message on the queue; return when the broker has confirmed it, within ``seconds``.

        Raises RefusedError or UnknownError.
        """
        link = self._link
        if link is None or not self.connected.is_set():
            raise UnreachableError("no connection to the broker")
        message = aio_pika.Message(
            body,
            headers=headers,
            content_type=CONTENT_TYPE,
            type=type_,
            message_id=message_id,
            timestamp=int(time.time()),
            app_id="frontend",
            user_id=self.user,  # the broker takes no other than ours
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        try:
            await link.exchange.publish(message, self._queue, mandatory=True, timeout=seconds)
        except DeliveryError as error:
            raise RefusedError(f"the broker refused it: {error!r}") from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._doubt(link)  # aiormq cancels what waits on a connection that breaks
            raise UnknownError("the connection broke") from None
        except Exception as error:  # whatever it was, it doesn't say that the broker hasn't got it
            self._doubt(link)
            raise UnknownError(repr(error)) from None

    def _doubt(self, link: _Link) -> None:
        link.failed.set()
        if link is self._link:
            self._set_connected(False)


async def _is_blocked(connection: AbstractConnection) -> bool:
    """Return True if the broker has blocked this connection (RabbitMQ's ``connection.blocked``).

    The transport is ready unless the broker blocked it; so a transport that is not ready in time is blocked.
    """
    try:
        async with asyncio.timeout(0.1):
            await _unblocked(connection)
    except TimeoutError:
        return True
    return False


async def _unblocked(connection: AbstractConnection) -> None:
    if connection.transport is not None:
        await connection.transport.ready()


async def _first_of(*awaitables: Awaitable[object]) -> None:
    """Return when one of the awaitables is done."""
    tasks = [asyncio.ensure_future(each) for each in awaitables]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
