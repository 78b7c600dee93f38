"""Preparation: the next batch is read and packed while the one before is being stored."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from archiving.archive import Archive
from archiving.config import WorkerSettings
from archiving.consumer import Consumer
from archiving.delivery import Delivery
from archiving.storing import Prepared, prepare_batch

log = logging.getLogger("archiving")

SUSPECT: Final = 2
"""Count of returns. A message that came back so often may have ended workers: it is not read here."""
_IDLE_SECONDS: Final = 0.2
_MAX_PEOPLE: Final = 20_000
"""Recipients of a batch's IMs at most, about: if all are new, the archive numbers them in a second."""
_AHEAD: Final = 1
"""Batches that wait, prepared: more of them would only be stored later."""


class Work(NamedTuple):
    """A batch's deliveries, and their rows if they could be packed."""

    deliveries: list[Delivery]
    prepared: Prepared | None
    """None: a ``Settlement`` reads it."""

    @property
    def suspect(self) -> bool:
        """Return whether a delivery of it may have ended other workers."""
        return any(delivery.delivery_count >= SUSPECT for delivery in self.deliveries)


class Preparation(threading.Thread):
    """Takes batches from the consumer and prepares them, until it is told to stop and nothing is left."""

    def __init__(
        self, settings: WorkerSettings, consumer: Consumer, archive: Callable[[], Archive | None]
    ) -> None:
        """``archive`` returns the worker's present archive, None while the database is away."""
        super().__init__(name="preparation", daemon=True)
        self._settings = settings
        self._senders = settings.senders
        self._consumer = consumer
        self._archive = archive
        self._work: queue.Queue[Work] = queue.Queue(_AHEAD)
        self._stopping = threading.Event()

    def next(self) -> Work | None:
        """Return the next batch; None if none comes within 0.2 s."""
        try:
            return self._work.get(timeout=_IDLE_SECONDS)
        except queue.Empty:
            return None

    def stop(self) -> None:
        """Prepare the deliveries taken so far, then end. The consumer must not take any more."""
        self._stopping.set()

    @property
    def ended(self) -> bool:
        """Return whether all batches are handed over."""
        return not self.is_alive() and self._work.empty()

    def run(self) -> None:
        while True:
            deliveries = self._take()
            if deliveries:
                work = Work(deliveries, None)
                if not work.suspect:
                    work = Work(deliveries, self._prepare(deliveries))
                self._work.put(work)
            elif self._stopping.is_set():
                return

    def _prepare(self, deliveries: list[Delivery]) -> Prepared | None:
        archive = self._archive()
        if archive is None:
            return None
        try:
            return prepare_batch(archive, deliveries, self._senders)
        except Exception as error:  # of any kind: who stores sees it too, and what to do
            log.debug("not prepared", extra={"error": repr(error)[:200]})
            return None

    def _take(self) -> list[Delivery]:
        """Return a batch's deliveries: as many as fit, or as come within some milliseconds."""
        deliveries: list[Delivery] = []
        ims = people = 0
        wait, deadline = _IDLE_SECONDS, 0.0
        while ims < self._settings.batch_size and people < _MAX_PEOPLE:
            try:
                delivery = self._consumer.deliveries.get(timeout=max(wait, 0))
            except queue.Empty:
                break
            if not deliveries:
                deadline = time.monotonic() + self._settings.batch_milliseconds / 1000
            if self._consumer.holds(delivery):
                deliveries.append(delivery)
                ims += delivery.ims
                people += delivery.people
            wait = deadline - time.monotonic()
        return deliveries
