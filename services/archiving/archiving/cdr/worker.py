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

import psycopg

from archiving.cdr.records import Records, Settlement
from archiving.config import CDRSettings
from archiving.consumer import Consumer
from archiving.delivery import Delivery
from archiving.evidence import DOUBT_PAUSE, DoubtError
from archiving.metrics import (
    BROKER_CONNECTED,
    CDR_ACTIVITIES,
    DATABASE_CONNECTED,
    PERSON_ATTEMPTS,
)
from archiving.parked.replay import replay_each
from contract.topology import CDR_QUEUE

log = logging.getLogger("archiving")

_PREFETCH: Final = 200
_HOLD_SECONDS: Final = 9.0
"""So long messages wait for others, where there are many: a talk that goes on is changed once."""
_HOLD_BYTES: Final = 64 << 20
"""As many don't wait any longer: the worker takes some 300 MB with them."""
_FEW_BYTES: Final = 512 << 10
"""As few don't wait, if no other is there."""
_LOOK_SECONDS: Final = 0.2
_IDLE_EVERY: Final = 5.0
_REPLAY_EVERY: Final = 1.0
_REPLAY_SECONDS: Final = 0.5
"""At a time: what is on the queue waits meanwhile."""
_MAX_PAUSE: Final = 2.0
_MOST_NAMED: Final = 10
"""People whose attempts Prometheus is told of: it keeps a series of each."""


class CDRWorker:
    """Stores call detail records until ``stop``."""

    def __init__(self, settings: CDRSettings) -> None:
        """Nothing starts yet."""
        self._settings = settings
        self._senders = settings.senders
        self._idle = timedelta(seconds=settings.cdr_idle_seconds)
        self._consumer = Consumer(settings, _PREFETCH, [CDR_QUEUE])
        self._records: Records | None = None
        self._held: list[Delivery] = []
        self._held_bytes = 0
        self._held_until = 0.0
        self._stopping = threading.Event()
        self._idle_due = 0.0
        self._replay_due = 0.0
        BROKER_CONNECTED.set_function(lambda: self.readiness()["broker"])
        DATABASE_CONNECTED.set_function(lambda: self.readiness()["database"])

    def readiness(self) -> dict[str, bool]:
        """Return whether the broker and the database are at our service."""
        consuming = self._consumer.consuming and self._consumer.is_alive()
        return {"broker": consuming, "database": self._records is not None}

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
            quiet = not self._take()
            if self._held and (self._is_enough() or (quiet and self._held_bytes <= _FEW_BYTES)):
                self._store_held()
        self._store_held()
        self._consumer.stop_taking()
        self._consumer.end()  # what was taken and is not stored comes again
        if self._records is not None:
            self._records.close()
        log.info("stopped")

    def _keep_house(self) -> None:
        try:
            records = self._connect()
            if time.monotonic() >= self._idle_due:
                records.end_idle()
                attempts = records.most_attempts(_MOST_NAMED)
                PERSON_ATTEMPTS.clear()
                PERSON_ATTEMPTS.labels("").set(0)  # nobody: else there would be no series to alert on
                for address, count in attempts:
                    PERSON_ATTEMPTS.labels(address).set(count)
                self._idle_due = time.monotonic() + _IDLE_EVERY
            if time.monotonic() >= self._replay_due:
                over = time.monotonic() + _REPLAY_SECONDS
                replay_each(
                    records,
                    lambda number, delivery: records.replay(number, delivery, self._senders),
                    lambda: self._stopping.is_set() or time.monotonic() >= over,
                )
                self._replay_due = time.monotonic() + _REPLAY_EVERY
        except Exception as error:
            self._disconnect(error)
            self._stopping.wait(_LOOK_SECONDS)

    def _connect(self) -> Records:
        if self._records is None:
            self._records = Records(self._settings.database_url, self._idle)
            log.info("connected to the database")
        return self._records

    def _disconnect(self, error: Exception) -> None:
        """End the session: in another one it may be well."""
        fields = {"error": repr(error)[:300], "sqlstate": getattr(error, "sqlstate", None)}
        if isinstance(error, DoubtError):
            log.warning("some of a message can't be stored, and more evidence is needed", extra=fields)
        elif isinstance(error, psycopg.Error):
            log.warning("database out of reach", extra=fields)
        else:
            log.error("nothing can be stored", extra=fields, exc_info=error)
        if self._records is not None:
            self._records.close()
            self._records = None

    def _take(self) -> bool:
        """Take a message to those that are held, if one comes in a moment; return whether one did."""
        try:
            delivery = self._consumer.deliveries.get(timeout=_LOOK_SECONDS)
        except queue.Empty:
            return False
        if not self._held:
            self._held_until = time.monotonic() + _HOLD_SECONDS
        self._held.append(delivery)
        self._held_bytes += len(delivery.body)
        return True

    def _is_enough(self) -> bool:
        return (
            len(self._held) >= _PREFETCH
            or self._held_bytes >= _HOLD_BYTES
            or time.monotonic() >= self._held_until
        )

    def _store_held(self) -> None:
        """Store what is held, together; if that fails, for whatever reason, message by message."""
        held, self._held, self._held_bytes = self._held, [], 0
        # What another channel brought comes again.
        held = [each for each in held if self._consumer.holds(each)]
        if len(held) > 1:
            with contextlib.suppress(Exception):  # it is told apart
                stored = self._connect().store_all(held, self._senders)
                self._consumer.acknowledge(held[-1])
                CDR_ACTIVITIES.inc(stored)
                return
        for delivery in held:
            if not self._store(delivery):
                return  # the acknowledgement of a later one would count for it too

    def _store(self, delivery: Delivery) -> bool:
        """Store an AMQP message, however long it takes; give it up (False) only if it will come again."""
        settlement = Settlement(delivery, self._senders)
        pause = 0.1
        while True:
            try:
                stored = settlement.settle(self._connect())
            except Exception as error:
                self._disconnect(error)
                pause = DOUBT_PAUSE if isinstance(error, DoubtError) else pause
            else:
                self._consumer.acknowledge(delivery)
                CDR_ACTIVITIES.inc(stored)
                return True
            if self._stopping.wait(pause) or not self._consumer.holds(delivery):
                return False
            pause = min(pause * 2, _MAX_PAUSE)
