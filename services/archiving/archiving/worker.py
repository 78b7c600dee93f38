"""The worker: take, store, commit, and only then acknowledge, in order.

Three threads: the consumer's takes from the broker, the preparation's reads and packs the next batch, this
one stores. Failures are sorted by evidence (``evidence.py``): an IM that cannot be stored while others could
is parked and acknowledged; while nothing can be stored everything stays unacknowledged.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import psycopg

from archiving.archive import Archive
from archiving.batch import park_unread
from archiving.chores import Every, do_due
from archiving.config import WorkerSettings
from archiving.consumer import Consumer
from archiving.delivery import Delivery
from archiving.journal import Journal
from archiving.metrics import (
    BROKER_CONNECTED,
    DATABASE_CONNECTED,
    LACKING_PARTITIONS,
    UNACKNOWLEDGED,
    UNACKNOWLEDGED_OLDEST,
)
from archiving.preparation import Preparation, Work
from archiving.progress import Progress
from archiving.session import DatabaseSession
from archiving.storing import Settlement, append_prepared, replay_all
from archiving.trial import find_killers
from contract.topology import PARKED_QUEUE, QUEUE

if TYPE_CHECKING:
    from archiving.spans import Spans

log = logging.getLogger("archiving")

_PARTITIONS_EVERY: Final = 3600.0
_PARTITIONS_AGAIN: Final = 60.0
_REPLAY_EVERY: Final = 1.0
_REPLAY_SECONDS: Final = 0.5
"""Seconds of a replay at a time: IMs wait meanwhile."""
_PROGRESS_EVERY: Final = 10.0
_FORGET_EVERY: Final = 60.0
_FORGET_AGAIN: Final = 1.0
_FORGET_ROWS: Final = 5000
"""Rows of the journal deleted at a time: IMs wait meanwhile."""
_IDLE_SECONDS: Final = 0.2


class Worker:
    """Stores the consumer's deliveries, batch by batch, until ``stop``."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._senders = settings.senders
        self._consumer = Consumer(settings, settings.prefetch, [QUEUE, PARKED_QUEUE])
        self._stopping = threading.Event()
        self._session = DatabaseSession(lambda: Archive(settings.database_url))
        self._preparation = Preparation(settings, self._consumer, lambda: self._session.current)
        self._journal = Journal()
        self._progress = Progress()
        self._spans = self._open_spans()
        self._chores = (
            Every(_PARTITIONS_EVERY, self._ensure_partitions, after_failure=_PARTITIONS_AGAIN),
            Every(_REPLAY_EVERY, self._replay),
            Every(0, self._note_acknowledgement),
            Every(_PROGRESS_EVERY, self._report_progress),
            Every(_FORGET_EVERY, self._forget_journal),
        )
        BROKER_CONNECTED.set_function(lambda: self.readiness()["broker"])
        DATABASE_CONNECTED.set_function(lambda: self.readiness()["database"])
        UNACKNOWLEDGED.set_function(lambda: self._consumer.unacknowledged.ims)
        UNACKNOWLEDGED_OLDEST.set_function(lambda: self._consumer.unacknowledged.oldest)

    def _open_spans(self) -> "Spans | None":
        if self._settings.otlp_endpoint is None:
            return None
        from archiving.spans import Spans  # noqa: PLC0415 - OpenTelemetry is loaded only where it is used

        return Spans(str(self._settings.otlp_endpoint), self._journal)

    def readiness(self) -> dict[str, bool]:
        """Return for broker and database whether the worker is connected to it."""
        consuming = self._consumer.consuming and self._consumer.is_alive()
        return {"broker": consuming, "database": self._session.current is not None}

    def stop(self) -> None:
        """Take no more, store the deliveries taken, then return from ``run``. Safe in a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        self._do_chores()
        self._consumer.start()
        self._preparation.start()
        stored = True
        while not self._stopping.is_set():
            for thread in (self._consumer, self._preparation):
                if not thread.is_alive():
                    raise RuntimeError(f"the thread {thread.name} ended by itself: see the log above")
            self._do_chores()
            stored = self._store_next()
        self._consumer.stop_taking()
        self._preparation.stop()
        # A batch given up ends it: the acknowledgement of a later one would count for it too.
        while stored and not self._preparation.ended:
            stored = self._store_next()
        self._consumer.end()
        if self._session.current is not None:
            with contextlib.suppress(psycopg.Error):
                self._session.current.log_batch(self._journal.enter())
        self._session.close()
        if self._spans is not None:
            self._spans.close()
        log.info("stopped")

    def _do_chores(self) -> None:
        if self._session.attempt(lambda archive: do_due(self._chores, archive)) is not None:
            self._stopping.wait(_IDLE_SECONDS)

    def _ensure_partitions(self, archive: Archive) -> None:
        LACKING_PARTITIONS.set(archive.ensure_partitions())

    def _replay(self, archive: Archive) -> None:
        _, replay_asked_for = archive.count_parked()
        if replay_asked_for:
            over = time.monotonic() + _REPLAY_SECONDS
            replay_all(archive, self._senders, lambda: self._stopping.is_set() or time.monotonic() >= over)

    def _note_acknowledgement(self, archive: Archive) -> None:
        """Store when the last batch was acknowledged, if no next batch brings it."""
        if self._journal.is_due:
            entry = self._journal.enter()
            self._journal.note_said()
            archive.log_batch(entry)

    def _report_progress(self, archive: Archive) -> None:
        self._progress.note_empty(self._consumer.empty_at)
        if (seconds := self._progress.take()) is not None:
            archive.log_reading(seconds)

    def _forget_journal(self, archive: Archive) -> float | None:
        forgotten = archive.forget_traces(self._settings.trace_days, _FORGET_ROWS)
        return _FORGET_AGAIN if forgotten >= _FORGET_ROWS else None

    def _store_next(self) -> bool:
        """Store the next batch, if one comes in a moment; return False as ``_store``."""
        work = self._preparation.next()
        return work is None or self._store(work)

    def _store(self, work: Work) -> bool:
        """Store a batch, however long it takes, and acknowledge it; return False if it must come again."""
        deliveries = work.deliveries
        settlement: Settlement | None = None

        def store(archive: Archive) -> None:
            nonlocal settlement
            if work.suspect:
                self._try(archive, deliveries)
                return
            if settlement is None:
                settlement = self._begin(archive, work)
            settlement.settle(archive)

        # The broker hands the deliveries to another worker once their epoch is over.
        if not self._session.persist(store, self._stopping, lambda: not self._holds(deliveries[-1])):
            return False
        self._consumer.acknowledge(deliveries[-1])
        self._progress.note_stored(deliveries)
        self._journal.note_acknowledgement()
        log.debug("acknowledged", extra={"worker": self._journal.worker, "batch": self._journal.number})
        if self._spans is not None:
            self._spans.end_batch(deliveries)
        return True

    def _holds(self, delivery: Delivery) -> bool:
        return self._consumer.is_alive() and self._consumer.holds(delivery)

    def _begin(self, archive: Archive, work: Work) -> Settlement:
        """Append the prepared IMs; return the rest of the batch to settle, all of it if appending fails."""
        deliveries, prepared = work
        # Rows packed with an earlier session's numbers are packed again.
        if prepared is not None and prepared.archive is archive:
            committed = append_prepared(prepared, self._journal)
            if committed:
                return Settlement(self._senders, batch=prepared.rest)
        return Settlement(self._senders, deliveries, self._journal)

    def _try(self, archive: Archive, deliveries: Sequence[Delivery]) -> None:
        """Store deliveries of which one may end the worker; park the one that would."""

        def rehearse(delivery: Delivery) -> None:
            # Nothing looks into the delivery here.
            agents = {
                (each.agent, each.pool) for each in park_unread(delivery, "", self._senders).parked_ranges
            }
            archive.rehearse(agents=agents, size=len(delivery.body))

        for delivery, how in find_killers(deliveries, rehearse):
            batch = park_unread(delivery, f"it ends the worker that stores it: {how}", self._senders)
            Settlement(self._senders, batch=batch).settle(archive)
