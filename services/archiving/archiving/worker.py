"""The worker: take, store, commit, and only then acknowledge, in order.

Two threads: the consumer's takes from the broker while this one stores. What goes wrong is sorted by what
the broker must do: an IM that can never be stored is parked and acknowledged; while the database is away
everything stays unacknowledged; anything else ends the process, and the queue still has the message.
"""

import logging
import queue
import struct
import threading
import time
from collections.abc import Sequence
from typing import Final

import psycopg
from pika.exceptions import AMQPError

from archiving.archive import Archive, ConflictError
from archiving.batch import Batch, read_batch
from archiving.config import WorkerSettings
from archiving.consumer import Consumer, Delivery
from archiving.metrics import BATCH_SIZE, COMMIT_SECONDS, COMMITTED, DUPLICATES, LAG_SECONDS, PARKED
from archiving.parking import Parked, park
from contract.message import COUNT_HEADER, IM, milliseconds_of

log = logging.getLogger("archiving")

POISON: Final = (ValueError, struct.error, psycopg.DataError, psycopg.IntegrityError)
"""Errors that lie in an IM itself: they would come again for ever."""
_MAX_PAUSE: Final = 2.0
_PARTITIONS_EVERY: Final = 3600.0
_IDLE_SECONDS: Final = 0.2


class Worker:
    """Stores what the consumer takes, batch by batch, until ``stop``."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Nothing starts yet."""
        self._settings = settings
        self._consumer = Consumer(settings.amqp_url, settings.prefetch)
        self._archive: Archive | None = None
        self._stopping = threading.Event()
        self._partitions_due = 0.0

    def readiness(self) -> dict[str, bool]:
        """Return whether the broker and the database are at our service."""
        return {"broker": self._consumer.consuming, "database": self._archive is not None}

    def stop(self) -> None:
        """Take no more, store what was taken, then return from ``run``. Safe in a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Work until ``stop``."""
        self._consumer.start()
        while not self._stopping.is_set():
            if not self._consumer.is_alive():
                raise RuntimeError("the consumer's thread ended by itself: see the log above")
            self._keep_house()
            deliveries = self._take()
            if deliveries:
                self._store(deliveries)
        self._consumer.stop_taking()
        # A batch given up ends it: the acknowledgement of a later one would count for it too.
        while (deliveries := self._take()) and self._store(deliveries):
            pass
        self._consumer.end()
        if self._archive is not None:
            self._archive.close()
        log.info("stopped")

    def _keep_house(self) -> None:
        """Have a session with the database, and the partitions of the months to come."""
        try:
            archive = self._connect()
            if time.monotonic() >= self._partitions_due:
                archive.ensure_partitions()
                self._partitions_due = time.monotonic() + _PARTITIONS_EVERY
        except psycopg.Error as error:
            self._disconnect(error)
            self._stopping.wait(_IDLE_SECONDS)

    def _connect(self) -> Archive:
        if self._archive is None:
            self._archive = Archive(self._settings.database_url)
            log.info("connected to the database")
        return self._archive

    def _disconnect(self, error: psycopg.Error) -> None:
        log.warning("database out of reach", extra={"error": repr(error)[:300], "sqlstate": error.sqlstate})
        if self._archive is not None:
            self._archive.close()
            self._archive = None

    def _take(self) -> list[Delivery]:
        """Return a batch's messages: as many as fit, or what came within some milliseconds."""
        deliveries: list[Delivery] = []
        ims = 0
        wait, deadline = _IDLE_SECONDS, 0.0
        while ims < self._settings.batch_size:
            try:
                delivery = self._consumer.deliveries.get(timeout=max(wait, 0))
            except queue.Empty:
                break
            if not deliveries:
                deadline = time.monotonic() + self._settings.batch_milliseconds / 1000
            if delivery.connection == self._consumer.connection_number:
                deliveries.append(delivery)
                count = (delivery.properties.headers or {}).get(COUNT_HEADER)
                ims += count if isinstance(count, int) else 1
            wait = deadline - time.monotonic()
        return deliveries

    def _store(self, deliveries: list[Delivery]) -> bool:
        """Store a batch, however long it takes; give it up (False) only if it will come again."""
        pause = 0.1
        while True:
            try:
                batch = read_batch(deliveries)
                self._commit(batch, deliveries)
                if batch.parked:
                    park(self._settings.amqp_url, batch.parked)
                    PARKED.inc(len(batch.parked))
            except psycopg.Error as error:
                self._disconnect(error)
            except (AMQPError, OSError) as error:
                log.warning("cannot park, the broker is out of reach", extra={"error": repr(error)[:200]})
            else:
                self._consumer.acknowledge(deliveries[-1])
                return True
            # The broker has them again, and gives them to somebody else, once the connection is gone.
            if self._stopping.wait(pause) or deliveries[-1].connection != self._consumer.connection_number:
                return False
            pause = min(pause * 2, _MAX_PAUSE)

    def _commit(self, batch: Batch, deliveries: Sequence[Delivery]) -> None:
        """Commit everything of a batch that can be stored; move what cannot to ``batch.parked``."""
        started = time.monotonic()
        archive = self._connect()
        for im, reason in self._commit_ims(archive, list(batch.ims)):
            batch.refuse(im, reason, deliveries)
        for statement, delivery in batch.statements:
            try:
                archive.log_agent(statement)
            except POISON as error:
                batch.parked.append(
                    Parked(delivery.body, delivery.properties, f"cannot be stored: {error}", None)
                )
        for numbers in batch.numbers:
            try:
                archive.store([], [numbers])
            except POISON as error:
                log.error("cannot account for parked IMs", extra={"error": repr(error)[:200]})
        if batch.ims:
            BATCH_SIZE.observe(len(batch.ims))
            COMMIT_SECONDS.observe(time.monotonic() - started)
            LAG_SECONDS.set(time.time() - min(milliseconds_of(im.id) for im in batch.ims) / 1000)

    def _commit_ims(self, archive: Archive, ims: list[IM]) -> list[tuple[IM, str]]:
        """Commit IMs, by halves where the database refuses some; return those refused, with reasons."""
        if not ims:
            return []
        try:
            inserted = archive.store(ims)
        except ConflictError as conflict:
            refused = [(im, "its id is archived already with another content") for im in conflict.ims]
            rest = [im for im in ims if not any(im is other for other in conflict.ims)]
            return refused + self._commit_ims(archive, rest)
        except POISON as error:
            if len(ims) == 1:
                return [(ims[0], f"cannot be stored: {error}")]
            middle = len(ims) // 2
            return self._commit_ims(archive, ims[:middle]) + self._commit_ims(archive, ims[middle:])
        COMMITTED.inc(inserted)
        DUPLICATES.inc(len(ims) - inserted)
        return []
