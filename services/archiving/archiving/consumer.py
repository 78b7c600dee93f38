"""The broker side: one thread that owns the connection, takes from queues and acknowledges."""

import logging
import queue
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError
from pika.spec import Basic, BasicProperties

from archiving import amqp_tables
from archiving.config import ConsumerSettings
from archiving.delivery import Delivery, Unacknowledged
from contract.topology import PARKED_QUEUE
from runtime.broker import BrokerAddress

log = logging.getLogger("archiving")

_MAX_PAUSE: Final = 2.0
_QUIET_SECONDS: Final = 5.0
"""Seconds without a message after which the queue is asked whether it has any."""
_MOMENT: Final = 0.2
"""Seconds. A worker that acknowledged within this time is busy; expect the other acknowledgements shortly."""


class SilentError(Exception):
    """Raised when the queue has messages and the broker hands out none."""


class Consumer(threading.Thread):
    """Receives AMQP messages in a thread of its own, over a connection that it rebuilds whenever it breaks.

    Messages wait in ``deliveries``, of each queue no more than the prefetch count. A lost connection returns
    its unacknowledged messages to the queue: they come again, to this worker or another.

    From time to time it opens a new channel. When a node dies, a quorum queue can count a message as handed
    to a channel that never got it, and keeps it for that channel as long as the channel is there
    (rabbitmq-server issue 15473); when the channel closes, the message comes again.
    """

    def __init__(self, settings: ConsumerSettings, prefetch: int, queues: Sequence[str]) -> None:
        super().__init__(name="consumer", daemon=True)
        amqp_tables.use()
        self.deliveries: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
        self.epoch = 0
        """Count of the channels opened so far. A delivery is void unless its epoch is the consumer's.

        The consumer's thread alone changes it. Another thread may read it at any time: if the epoch ends just
        then, the thread works in vain, for ``acknowledge`` compares once more and the message comes again.
        """
        self.unacknowledged = Unacknowledged()
        self.empty_at = 0.0
        """Time by ``time.monotonic`` at which all queues and this consumer's hands were empty."""
        self._nodes = BrokerAddress(settings.amqp_url)
        self._prefetch = prefetch
        self._channel_seconds = settings.channel_seconds
        self._queues = queues
        self._stop_taking = threading.Event()
        self._ended = threading.Event()
        self._subscribed = False
        self._connection: pika.BlockingConnection | None = None
        self._channel: BlockingChannel | None = None
        self._acknowledged_at = 0.0
        self._quiet_since = 0.0

    @property
    def consuming(self) -> bool:
        """Return whether the broker hands messages to this consumer."""
        return self._subscribed and not self._stop_taking.is_set()

    def holds(self, delivery: Delivery) -> bool:
        """Return whether a delivery can still be acknowledged; else its message comes again."""
        return delivery.epoch == self.epoch

    def run(self) -> None:
        """Consume until ``end``; connect again after every failure, ever slower up to 2 s."""
        pause, failed_at = 0.1, 0.0
        while not self._ended.is_set():
            try:
                self._consume()
            except Exception as error:  # not only AMQPError: pika fails in many ways when a connection dies
                if self._acknowledged_at > failed_at:  # this connection was of use
                    pause = 0.1
                failed_at = time.monotonic()
                log.warning("broker out of reach", extra={"error": repr(error)[:200], "retry_in": pause})
                self._subscribed = False
                self.unacknowledged.clear()
                self._ended.wait(pause)
                pause = min(pause * 2, _MAX_PAUSE)
        self._subscribed = False

    def _consume(self) -> None:
        connection = pika.BlockingConnection(_parameters_for(self._nodes.next_url()))
        try:
            self._connection = connection
            while not self._ended.is_set():
                self._consume_on(connection, connection.channel())
            connection.process_data_events(time_limit=0)  # the last acknowledgements
        finally:
            self._connection = self._channel = None
            if connection.is_open:
                connection.close()

    def _consume_on(self, connection: pika.BlockingConnection, channel: BlockingChannel) -> None:
        """Consume for one epoch; return when its every delivery is acknowledged, or at the end."""
        channel.basic_qos(prefetch_count=self._prefetch)
        channel.add_on_cancel_callback(_raise_cancelled)
        self.epoch += 1
        self._channel = channel
        self._quiet_since = time.monotonic()
        tags = [] if self._stop_taking.is_set() else self._subscribe(channel)
        self._take(connection, channel)
        for tag in tags:
            channel.basic_cancel(tag)
        while not self._ended.is_set() and (self.unacknowledged or self._stop_taking.is_set()):
            connection.process_data_events(time_limit=1)
        if not self._ended.is_set():
            channel.close()

    def _subscribe(self, channel: BlockingChannel) -> list[str]:
        """Ask for the messages of all queues; return the tags by which that is cancelled."""
        tags = [
            channel.basic_consume(queue, partial(self._receive, given_up=queue == PARKED_QUEUE))
            for queue in self._queues
        ]
        if not self._subscribed:
            log.info("consuming", extra={"queue": self._queues[0], "prefetch": self._prefetch})
        self._subscribed = True
        log.debug("took a channel", extra={"epoch": self.epoch})
        return tags

    def _take(self, connection: pika.BlockingConnection, channel: BlockingChannel) -> None:
        """Receive messages until the channel is old, or the consumer is told to take no more."""
        renew_at = time.monotonic() + self._channel_seconds
        while True:
            connection.process_data_events(time_limit=1)
            if self._ended.is_set() or self._stop_taking.is_set() or self._may_renew(renew_at):
                return
            if not self.unacknowledged:
                self._listen(connection, channel)

    def _may_renew(self, renew_at: float) -> bool:
        """Return whether a channel is old, and its deliveries are acknowledged now or in a moment."""
        now = time.monotonic()
        return now >= renew_at and (not self.unacknowledged or now < self._acknowledged_at + _MOMENT)

    def _listen(self, connection: pika.BlockingConnection, channel: BlockingChannel) -> None:
        """Raise SilentError if messages wait and none comes.

        Consumers have gone silent on brokers that failed, or whose queue was declared again (aio-pika issues
        231, 563): then only a new connection helps.
        """
        if time.monotonic() < self._quiet_since + _QUIET_SECONDS:
            return
        self._quiet_since = now = time.monotonic()
        for _ in range(2):  # what came a moment ago is on its way
            waiting = sum(_count(channel, queue) for queue in self._queues)
            if self.unacknowledged:
                return
            if not waiting:
                self.empty_at = now
                return
            connection.process_data_events(time_limit=1)
        if not self.unacknowledged:
            raise SilentError(f"{waiting} messages wait, none comes")

    def _receive(
        self,
        _channel: BlockingChannel,
        method: Basic.Deliver,
        properties: BasicProperties,
        body: bytes,
        *,
        given_up: bool,
    ) -> None:
        delivery = Delivery(self.epoch, method.delivery_tag, properties, body, given_up, time.time())
        self.unacknowledged.add(delivery)
        self.deliveries.put(delivery)

    def acknowledge(self, delivery: Delivery) -> None:
        """Acknowledge a message and all before it; without effect if its epoch is over: they come again."""
        self._call(lambda: self._acknowledge(delivery))

    def _acknowledge(self, delivery: Delivery) -> None:
        if self.holds(delivery) and self._channel is not None:
            self._channel.basic_ack(delivery.tag, multiple=True)
            self._acknowledged_at = time.monotonic()
            self.unacknowledged.remove(delivery.tag)
            if not self.unacknowledged:
                self._quiet_since = time.monotonic()

    def stop_taking(self) -> None:
        """Stop the broker from sending; deliveries can still be acknowledged."""
        self._stop_taking.set()
        self._call(lambda: None)

    def end(self) -> None:
        """Send the last acknowledgements, close the connection, end the thread."""
        self._ended.set()
        self._call(lambda: None)
        self.join(timeout=10)

    def _call(self, function: Any) -> None:
        """Have the connection's thread call a function: pika's connections belong to one thread."""
        connection = self._connection
        if connection is not None:
            try:
                connection.add_callback_threadsafe(function)
            except AMQPError:
                log.debug("connection closed meanwhile")


def _count(channel: BlockingChannel, queue: str) -> int:
    """Return how many messages wait in a queue."""
    count: int = channel.queue_declare(queue, passive=True).method.message_count
    return count


def _parameters_for(url: str) -> pika.URLParameters:
    """Return how to connect to a node: one that is gone is noticed within seconds."""
    parameters = pika.URLParameters(url)
    parameters.socket_timeout = 3
    parameters.stack_timeout = 5
    # pika joins what it receives by 4 KB to a frame: small frames cost it a third less than large ones.
    parameters.frame_max = 16_384
    parameters.heartbeat = 10
    parameters.blocked_connection_timeout = None  # an alarm blocks publishers; the consumer only acknowledges
    parameters.client_properties = {"connection_name": "archiving"}
    return parameters


def _raise_cancelled(_method: Basic.Cancel) -> None:
    raise pika.exceptions.ConsumerCancelled
