"""The journal: by which publish and batch an IM came. Facts known only later go with the next batch."""

import os
import socket
import time
from collections.abc import Iterable
from typing import Final
from uuid import uuid4

import msgspec

from archiving.archive import BatchEntry
from archiving.batch import Publish
from archiving.numbers import Numbers

_QUIET_SECONDS: Final = 1.0


class Journal:
    """Numbers a worker's batches, and remembers when the last was committed and acknowledged."""

    def __init__(self) -> None:
        self.worker = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"
        self.number = 0
        """Number of the batch tried last."""
        self._committed: float | None = None
        self._acknowledged: float | None = None
        self._quiet_since: float | None = None

    def enter(self, ims: int = 0, publishes: str = "[]") -> BatchEntry:
        """Return the entry of the next batch; ``publishes`` come from ``describe_publishes``.

        A batch tried again has another number: whether the try before was committed may be unknown.
        """
        self.number += 1
        return BatchEntry(self.worker, self.number, ims, self._committed, self._acknowledged, publishes)

    def note_commit(self) -> None:
        """Note that the batch entered last is committed."""
        self._committed, self._acknowledged = time.time(), None

    def note_acknowledgement(self) -> None:
        """Note when the last committed batch was acknowledged. Batches without IMs are not in the journal."""
        if self._committed is not None and self._acknowledged is None:
            self._acknowledged = time.time()
            self._quiet_since = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Return whether an acknowledgement has waited a second for a next batch to carry it."""
        return self._quiet_since is not None and time.monotonic() - self._quiet_since >= _QUIET_SECONDS

    def note_said(self) -> None:
        """Note that the acknowledgement is on its way to the database."""
        self._quiet_since = None


def describe_publishes(publishes: Iterable[Publish], numbers: Numbers) -> str:
    """Return publishes as the JSON that ``archive.log_batch()`` takes, without unknown agents."""
    rows = []
    for agent, pool, *rest in publishes:
        number = numbers.known_number(agent, pool)
        if number is not None:
            rows.append((number, *rest))
    return msgspec.json.encode(rows).decode()
