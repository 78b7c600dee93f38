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

from archiving.cdr.records import Records, Settlement
from archiving.chores import Every, do_due
from archiving.config import CDRSettings
from archiving.consumer import Consumer
from archiving.delivery import Delivery
from archiving.metrics import (
    BROKER_CONNECTED,
    CDR_ACTIVITIES,
    DATABASE_CONNECTED,
    PERSON_ATTEMPTS,
)
from archiving.parked.replay import replay_each
from archiving.session import DatabaseSession
from contract.topology import CDR_QUEUE

log = logging.getLogger("archiving")

_PREFETCH: Final = 200
_HOLD_SECONDS: Final = 9.0
"""Seconds that messages wait for others, where there are many: a talk that goes on is changed once."""
_HOLD_BYTES: Final = 64 << 20
"""Bytes of held messages that don't wait any longer: the worker takes some 300 MB with them."""
_FEW_BYTES: Final = 512 << 10
"""Bytes of held messages that don't wait, if no other message is there."""
_LOOK_SECONDS: Final = 0.2
_IDLE_EVERY: Final = 5.0
_REPLAY_EVERY: Final = 1.0
_REPLAY_SECONDS: Final = 0.5
"""Seconds of a replay at a time: the queue waits meanwhile."""
_MOST_NAMED: Final = 10
"""People whose attempts Prometheus shows: it keeps a series of each."""


class CDRWorker:
    """Stores call detail records until ``stop``."""

    def __init__(self, settings: CDRSettings) -> None:
        self._senders = settings.senders
        self._consumer = Consumer(settings, _PREFETCH, [CDR_QUEUE])
        self._held: list[Delivery] = []
        self._held_bytes = 0
        self._held_until = 0.0
        self._stopping = threading.Event()
        idle = timedelta(seconds=settings.cdr_idle_seconds)
        self._session = DatabaseSession(lambda: Records(settings.database_url, idle))
        self._chores = (
            Every(_IDLE_EVERY, self._end_idle, after_failure=0),
            Every(_REPLAY_EVERY, self._replay, after_failure=0),
        )
        BROKER_CONNECTED.set_function(lambda: self.readiness()["broker"])
        DATABASE_CONNECTED.set_function(lambda: self.readiness()["database"])

    def readiness(self) -> dict[str, bool]:
        """Return for broker and database whether the worker is connected to it."""
        consuming = self._consumer.consuming and self._consumer.is_alive()
        return {"broker": consuming, "database": self._session.current is not None}

    def stop(self) -> None:
        """Store the deliveries in hand, then return from ``run``. Safe in a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        self._consumer.start()
        while not self._stopping.is_set():
            if not self._consumer.is_alive():
                raise RuntimeError("the consumer's thread ended by itself: see the log above")
            self._do_chores()
            quiet = not self._take()
            if self._held and (self._is_enough() or (quiet and self._held_bytes <= _FEW_BYTES)):
                self._store_held()
        self._store_held()
        self._consumer.stop_taking()
        self._consumer.end()  # what was taken and is not stored comes again
        self._session.close()
        log.info("stopped")

    def _do_chores(self) -> None:
        if self._session.attempt(lambda records: do_due(self._chores, records)) is not None:
            self._stopping.wait(_LOOK_SECONDS)

    def _end_idle(self, records: Records) -> None:
        records.end_idle()
        attempts = records.most_attempts(_MOST_NAMED)
        PERSON_ATTEMPTS.clear()
        PERSON_ATTEMPTS.labels("").set(0)  # nobody: else there would be no series to alert on
        for address, count in attempts:
            PERSON_ATTEMPTS.labels(address).set(count)

    def _replay(self, records: Records) -> None:
        over = time.monotonic() + _REPLAY_SECONDS
        replay_each(
            records,
            lambda number, delivery: records.replay(number, delivery, self._senders),
            lambda: self._stopping.is_set() or time.monotonic() >= over,
        )

    def _take(self) -> bool:
        """Hold a message, if one comes in a moment; return whether one did."""
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
        """Store the held deliveries together; if that fails, for any reason, one by one."""
        held, self._held, self._held_bytes = self._held, [], 0
        # What another channel brought comes again.
        held = [each for each in held if self._consumer.holds(each)]
        if len(held) > 1:
            with contextlib.suppress(Exception):  # each by itself shows what is wrong with it
                stored = self._session.get().store_all(held, self._senders)
                self._consumer.acknowledge(held[-1])
                CDR_ACTIVITIES.inc(stored)
                return
        for delivery in held:
            if not self._store(delivery):
                return  # the acknowledgement of a later one would count for it too

    def _store(self, delivery: Delivery) -> bool:
        """Store a delivery, however long it takes, and acknowledge it; return False if it must come again."""
        settlement = Settlement(delivery, self._senders)
        stored = self._session.persist(
            lambda records: CDR_ACTIVITIES.inc(settlement.settle(records)),
            self._stopping,
            lambda: not self._consumer.holds(delivery),
        )
        if stored:
            self._consumer.acknowledge(delivery)
        return stored
