"""The worker of call detail records: takes from ``lcscdr``, stores, commits, acknowledges.

A process of its own beside those that archive content: neither waits for the other.
"""

import contextlib
import logging
import queue
import threading
import time
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid4

import msgspec
import psycopg

from archiving.archive import POISON, connect
from archiving.config import CDRSettings
from archiving.consumer import Consumer, Delivery
from archiving.metrics import (
    BROKER_CONNECTED,
    CDR_ACTIVITIES,
    CDR_REJECTED,
    DATABASE_CONNECTED,
    PERSON_ATTEMPTS,
)
from archiving.senders import Senders
from contract.address import address_of
from contract.cdr import CDR_TYPE, decode_activities
from contract.topology import CDR_QUEUE

log = logging.getLogger("archiving")

_PREFETCH: Final = 50
_LOOK_SECONDS: Final = 0.2
_IDLE_EVERY: Final = 5.0
_MAX_PAUSE: Final = 2.0
_MOST_NAMED: Final = 10
"""People whose attempts Prometheus is told of: it keeps a series of each."""
_LOG: Final = "SELECT cdr.log_activities(%s, %s::jsonb, %s)"


class CDRWorker:
    """Stores call detail records until ``stop``."""

    def __init__(self, settings: CDRSettings) -> None:
        """Nothing starts yet."""
        self._settings = settings
        self._senders = settings.senders
        self._idle = timedelta(seconds=settings.cdr_idle_seconds)
        self._consumer = Consumer(settings, _PREFETCH, [CDR_QUEUE])
        self._connection: psycopg.Connection | None = None
        self._stopping = threading.Event()
        self._idle_due = 0.0
        BROKER_CONNECTED.set_function(lambda: self.readiness()["broker"])
        DATABASE_CONNECTED.set_function(lambda: self.readiness()["database"])

    def readiness(self) -> dict[str, bool]:
        """Return whether the broker and the database are at our service."""
        consuming = self._consumer.consuming and self._consumer.is_alive()
        return {"broker": consuming, "database": self._connection is not None}

    def stop(self) -> None:
        """Store what is in hand, then return from ``run``. Safe in a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Work until ``stop``."""
        self._consumer.start()
        while not self._stopping.is_set():
            if not self._consumer.is_alive():
                raise RuntimeError("the consumer's thread ended by itself: see the log above")
            self._keep_house()
            with contextlib.suppress(queue.Empty):
                self._store(self._consumer.deliveries.get(timeout=_LOOK_SECONDS))
        self._consumer.stop_taking()
        self._consumer.end()  # what was taken and is not stored comes again
        if self._connection is not None:
            self._connection.close()
        log.info("stopped")

    def _keep_house(self) -> None:
        try:
            connection = self._connect()
            if time.monotonic() >= self._idle_due:
                connection.execute("SELECT cdr.end_idle(%s)", [self._idle])
                attempts = connection.execute("SELECT * FROM cdr.most_attempts('1 hour', %s)", [_MOST_NAMED])
                PERSON_ATTEMPTS.clear()
                PERSON_ATTEMPTS.labels("").set(0)  # nobody: else there would be no series to alert on
                for address, count in attempts:
                    PERSON_ATTEMPTS.labels(address).set(count)
                self._idle_due = time.monotonic() + _IDLE_EVERY
        except psycopg.Error as error:
            self._disconnect(error)
            self._stopping.wait(_LOOK_SECONDS)

    def _connect(self) -> psycopg.Connection:
        if self._connection is None:
            self._connection = connect(self._settings.database_url)
            log.info("connected to the database")
        return self._connection

    def _disconnect(self, error: psycopg.Error) -> None:
        log.warning("database out of reach", extra={"error": repr(error)[:300], "sqlstate": error.sqlstate})
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _store(self, delivery: Delivery) -> None:
        """Store an AMQP message, however long it takes; give it up only if it will come again."""
        pause = 0.1
        while True:
            try:
                self._log(self._connect(), delivery)
            except psycopg.Error as error:
                self._disconnect(error)
            else:
                self._consumer.acknowledge(delivery)
                return
            if self._stopping.wait(pause) or delivery.channel != self._consumer.channel_number:
                return
            pause = min(pause * 2, _MAX_PAUSE)

    def _log(self, connection: psycopg.Connection, delivery: Delivery) -> None:
        try:
            message, body, count = _read(delivery, self._senders)
            connection.execute(_LOG, (message, body, self._idle))
        except (*POISON, RecursionError) as error:
            log.error("call detail records that cannot be stored", extra={"error": repr(error)[:300]})
            connection.execute("SELECT cdr.reject(%s, %s)", (repr(error)[:1000], delivery.body))
            CDR_REJECTED.inc()
        else:
            CDR_ACTIVITIES.inc(count)


def _read(delivery: Delivery, senders: Senders) -> tuple[UUID, str, int]:
    """Return a message's id, its activities as a JSON array, and their number.

    Raises ValueError, or RecursionError.
    """
    properties = delivery.properties
    if properties.type != CDR_TYPE:
        raise ValueError(f"of type {properties.type!r}, not {CDR_TYPE}")
    activities = decode_activities(delivery.body)  # msgspec's errors are ValueErrors
    if refusal := senders.refusal_of(properties, {activity.pool for activity in activities}):
        raise ValueError(refusal)
    for activity in activities:  # older front ends knew people by other names
        activity.sender = address_of(activity.sender)
        activity.recipients = tuple(map(address_of, activity.recipients))
    message = UUID(str(properties.message_id)) if properties.message_id else uuid4()
    return message, msgspec.json.encode(activities).decode(), len(activities)
