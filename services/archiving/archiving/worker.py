"""The worker: take, store, commit, and only then acknowledge, in order.

Three threads: the consumer's takes from the broker, the preparation's reads and packs the next batch, this
one stores. What goes wrong is sorted by evidence (``evidence.py``): an IM that cannot be stored while others
could is parked and acknowledged; while nothing can be stored everything stays unacknowledged.
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
from archiving.config import WorkerSettings
from archiving.consumer import Consumer
from archiving.delivery import Delivery
from archiving.evidence import DOUBT_PAUSE, DoubtError
from archiving.journal import Trace
from archiving.metrics import (
    BROKER_CONNECTED,
    DATABASE_CONNECTED,
    LACKING_PARTITIONS,
    UNACKNOWLEDGED,
    UNACKNOWLEDGED_OLDEST,
)
from archiving.parked.replay import replay_all
from archiving.parked.trial import NoVerdictError, find_killers
from archiving.preparation import Preparation, Work
from archiving.progress import Progress
from archiving.storing import Settlement, store_prepared
from contract.topology import PARKED_QUEUE, QUEUE

if TYPE_CHECKING:
    from archiving.spans import Tracing

log = logging.getLogger("archiving")

_MAX_PAUSE: Final = 2.0
_PARTITIONS_EVERY: Final = 3600.0
_PARTITIONS_AGAIN: Final = 60.0
_PARKED_EVERY: Final = 1.0
_REPLAY_SECONDS: Final = 0.5
"""At a time: IMs wait meanwhile."""
_FORGET_EVERY: Final = 60.0
_FORGET_AGAIN: Final = 1.0
_FORGET_ROWS: Final = 5000
"""Of the trace, at a time: IMs wait meanwhile."""
_IDLE_SECONDS: Final = 0.2


class Worker:
    """Stores what the consumer takes, batch by batch, until ``stop``."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Nothing starts yet."""
        self._settings = settings
        self._senders = settings.senders
        self._consumer = Consumer(settings, settings.prefetch, [QUEUE, PARKED_QUEUE])
        self._preparation = Preparation(settings, self._consumer, lambda: self._archive)
        self._archive: Archive | None = None
        self._stopping = threading.Event()
        self._partitions_due = 0.0
        self._parked_due = 0.0
        self._forget_due = 0.0
        self._trace = Trace()
        self._progress = Progress()
        self._tracing = self._export()
        BROKER_CONNECTED.set_function(lambda: self.readiness()["broker"])
        DATABASE_CONNECTED.set_function(lambda: self.readiness()["database"])
        UNACKNOWLEDGED.set_function(lambda: self._consumer.unacknowledged.ims)
        UNACKNOWLEDGED_OLDEST.set_function(lambda: self._consumer.unacknowledged.oldest)

    def _export(self) -> "Tracing | None":
        if self._settings.otlp_endpoint is None:
            return None
        from archiving.spans import Tracing  # noqa: PLC0415 - OpenTelemetry is loaded only where it is used

        return Tracing(str(self._settings.otlp_endpoint), self._trace)

    def readiness(self) -> dict[str, bool]:
        """Return whether the broker and the database are at our service."""
        consuming = self._consumer.consuming and self._consumer.is_alive()
        return {"broker": consuming, "database": self._archive is not None}

    def stop(self) -> None:
        """Take no more, store what was taken, then return from ``run``. Safe in a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Work until ``stop``."""
        self._keep_house()
        self._consumer.start()
        self._preparation.start()
        stored = True
        while not self._stopping.is_set():
            for thread in (self._consumer, self._preparation):
                if not thread.is_alive():
                    raise RuntimeError(f"the thread {thread.name} ended by itself: see the log above")
            self._keep_house()
            stored = self._store_next()
        self._consumer.stop_taking()
        self._preparation.stop()
        # A batch given up ends it: the acknowledgement of a later one would count for it too.
        while stored and not self._preparation.ended:
            stored = self._store_next()
        self._consumer.end()
        if self._archive is not None:
            with contextlib.suppress(psycopg.Error):
                self._archive.log_batch(self._trace.enter())
            self._archive.close()
        if self._tracing is not None:
            self._tracing.close()
        log.info("stopped")

    def _keep_house(self) -> None:
        """Have a session with the database, and do what is due; what fails is due again a while later."""
        try:
            archive = self._connect()
            if time.monotonic() >= self._partitions_due:
                self._partitions_due = time.monotonic() + _PARTITIONS_AGAIN
                LACKING_PARTITIONS.set(archive.ensure_partitions())
                self._partitions_due = time.monotonic() + _PARTITIONS_EVERY
            if time.monotonic() >= self._parked_due:
                self._parked_due = time.monotonic() + _PARKED_EVERY
                self._look_after_parked(archive)
                self._parked_due = time.monotonic() + _PARKED_EVERY
            if self._trace.is_due:
                entry = self._trace.enter()
                self._trace.note_said()
                archive.log_batch(entry)
            if self._progress.is_due:
                self._progress.note_empty(self._consumer.empty_at)
                if (seconds := self._progress.take()) is not None:
                    archive.log_reading(seconds)
            if time.monotonic() >= self._forget_due:
                self._forget_due = time.monotonic() + _FORGET_EVERY
                if archive.forget_traces(self._settings.trace_days, _FORGET_ROWS) >= _FORGET_ROWS:
                    self._forget_due = time.monotonic() + _FORGET_AGAIN
        except Exception as error:
            self._disconnect(error)
            self._stopping.wait(_IDLE_SECONDS)

    def _look_after_parked(self, archive: Archive) -> None:
        _, replay_asked_for = archive.count_parked()
        if replay_asked_for:
            over = time.monotonic() + _REPLAY_SECONDS
            replay_all(archive, self._senders, lambda: self._stopping.is_set() or time.monotonic() >= over)

    def _connect(self) -> Archive:
        if self._archive is None:
            self._archive = Archive(self._settings.database_url)
            log.info("connected to the database")
        return self._archive

    def _disconnect(self, error: Exception) -> None:
        """End the session: in another one it may be well."""
        fields = {"error": repr(error)[:300], "sqlstate": getattr(error, "sqlstate", None)}
        if isinstance(error, DoubtError):
            log.warning("some of a batch can't be stored, and more evidence is needed", extra=fields)
        elif isinstance(error, psycopg.errors.ObjectNotInPrerequisiteState):
            log.warning("the archive is another than before: its numbers are asked for anew", extra=fields)
        elif isinstance(error, psycopg.Error):
            log.warning("database out of reach", extra=fields)
        else:
            log.error("nothing can be stored", extra=fields, exc_info=error)
        if self._archive is not None:
            self._archive.close()
            self._archive = None

    def _store_next(self) -> bool:
        """Store the next batch, if one comes in a moment; False as ``_store``."""
        work = self._preparation.next()
        return work is None or self._store(work)

    def _store(self, work: Work) -> bool:
        """Store a batch, however long it takes; give it up (False) only if it will come again."""
        deliveries = work.deliveries
        settlement: Settlement | None = None
        pause = 0.1
        while True:
            try:
                archive = self._connect()
                if work.suspect:
                    self._try(deliveries)
                else:
                    settlement = settlement or self._open(work, archive)
                    settlement.settle(archive)
            except NoVerdictError as error:
                log.warning("no verdict on what comes again", extra={"error": str(error)[:300]})
            except Exception as error:
                self._disconnect(error)
                pause = DOUBT_PAUSE if isinstance(error, DoubtError) else pause
            else:
                self._consumer.acknowledge(deliveries[-1])
                self._progress.note_stored(deliveries)
                self._trace.note_acknowledgement()
                log.debug("acknowledged", extra={"worker": self._trace.worker, "batch": self._trace.number})
                if self._tracing is not None:
                    self._tracing.end_batch(deliveries)
                return True
            if not self._consumer.is_alive():
                return False
            # The broker has them again, and gives them to somebody else, once their channel is gone.
            if self._stopping.wait(pause) or not self._consumer.holds(deliveries[-1]):
                return False
            pause = min(pause * 2, _MAX_PAUSE)

    def _open(self, work: Work, archive: Archive) -> Settlement:
        """Store what was prepared, and return what is left of the batch; all of it if that can't be."""
        deliveries, prepared = work
        # What was packed with an earlier session's numbers is packed anew.
        if prepared is not None and prepared.archive is archive and store_prepared(prepared, self._trace):
            return Settlement(self._senders, batch=prepared.rest)
        return Settlement(self._senders, deliveries, self._trace)

    def _try(self, deliveries: Sequence[Delivery]) -> None:
        """Store messages of which one may kill the worker; park the one that would."""
        for delivery, how in find_killers(deliveries, self._rehearse):
            batch = park_unread(delivery, f"it ends the worker that stores it: {how}", self._senders)
            Settlement(self._senders, batch=batch).settle(self._connect())

    def _rehearse(self, delivery: Delivery) -> None:
        """Store something like a message, without a look into it, and take it back. Raises what fails."""
        agents = {(each.agent, each.pool) for each in park_unread(delivery, "", self._senders).numbers}
        self._connect().rehearse(agents=agents, size=len(delivery.body))
