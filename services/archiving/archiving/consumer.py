"""The broker side: one thread that owns the connection, takes from ``lcslog`` and acknowledges."""

import logging
import queue
import threading
from typing import Any, Final, NamedTuple

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError
from pika.spec import Basic, BasicProperties

from contract.topology import QUEUE

log = logging.getLogger("archiving")

_MAX_PAUSE: Final = 2.0


class Delivery(NamedTuple):
    """One AMQP message, not yet acknowledged."""

    connection: int
    """Number of the connection that brought it: its tag is void on any other."""
    tag: int
    properties: BasicProperties
    body: bytes


class Consumer(threading.Thread):
    """Takes AMQP messages as long as it runs, over a connection that it rebuilds whenever it breaks.

    What it takes waits in ``deliveries``, at most the prefetch count of the broker. A connection that is
    lost takes its unacknowledged messages back to the queue: they come again, here or elsewhere.
    """

    def __init__(self, amqp_url: str, prefetch: int) -> None:
        """``amqp_url``: of the user ``archiving``. Nothing starts yet."""
        super().__init__(name="consumer", daemon=True)
        self.deliveries: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
        self.connection_number = 0
        self.consuming = False
        self._parameters = pika.URLParameters(amqp_url)
        self._parameters.heartbeat = 30
        self._parameters.blocked_connection_timeout = None  # an alarm blocks publishers; we only acknowledge
        self._parameters.client_properties = {"connection_name": "archiving"}
        self._prefetch = prefetch
        self._stop_taking = threading.Event()
        self._ended = threading.Event()
        self._connection: pika.BlockingConnection | None = None
        self._channel: BlockingChannel | None = None

    def run(self) -> None:
        """Consume until ``end``; connect again after every failure, ever slower up to 2 s."""
        pause = 0.1
        while not self._ended.is_set():
            try:
                self._consume()
                pause = 0.1
            except (AMQPError, OSError) as error:
                if self.consuming:
                    pause = 0.1
                log.warning("broker out of reach", extra={"error": repr(error)[:200], "retry_in": pause})
                self.consuming = False
                self._ended.wait(pause)
                pause = min(pause * 2, _MAX_PAUSE)
        self.consuming = False

    def _consume(self) -> None:
        connection = pika.BlockingConnection(self._parameters)
        try:
            channel = connection.channel()
            channel.basic_qos(prefetch_count=self._prefetch)
            channel.add_on_cancel_callback(_raise_cancelled)
            self.connection_number += 1
            self._connection, self._channel = connection, channel
            tag = None
            if not self._stop_taking.is_set():
                tag = channel.basic_consume(QUEUE, self._take)
                self.consuming = True
                log.info("consuming", extra={"queue": QUEUE, "prefetch": self._prefetch})
            while not self._ended.is_set():
                connection.process_data_events(time_limit=1)
                if tag is not None and self._stop_taking.is_set():
                    channel.basic_cancel(tag)
                    tag, self.consuming = None, False
            connection.process_data_events(time_limit=0)  # the last acknowledgements
        finally:
            self._connection = self._channel = None
            if connection.is_open:
                connection.close()

    def _take(
        self, _channel: BlockingChannel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        self.deliveries.put(Delivery(self.connection_number, method.delivery_tag, properties, body))

    def acknowledge(self, delivery: Delivery) -> None:
        """Acknowledge a message and all before it; void if its connection is gone (they come again)."""
        self._call(lambda: self._acknowledge(delivery))

    def _acknowledge(self, delivery: Delivery) -> None:
        if delivery.connection == self.connection_number and self._channel is not None:
            self._channel.basic_ack(delivery.tag, multiple=True)

    def stop_taking(self) -> None:
        """Let the broker send no more; what was taken can still be acknowledged."""
        self._stop_taking.set()
        self._call(lambda: None)

    def end(self) -> None:
        """Send what is left to send, close the connection, end the thread."""
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


def _raise_cancelled(_method: Basic.Cancel) -> None:
    raise pika.exceptions.ConsumerCancelled
