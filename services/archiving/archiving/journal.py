"""The trace: by which publish and batch an IM came. What is known only later is said with the next batch."""

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
    """Numbers one worker's batches, and remembers what became of the last."""

    def __init__(self) -> None:
        """Another name for each run of a worker."""
        self.worker = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"
        self.number = 0
        """Of the batch that was tried last."""
        self._committed: float | None = None
        self._acknowledged: float | None = None
        self._quiet_since: float | None = None

    def enter(self, ims: int = 0, publishes: str = "[]") -> BatchEntry:
        """Return the entry of the next batch; ``publishes`` as ``describe_publishes`` makes it.

        A batch that is tried again is another: of the try before nobody may know whether it was committed.
        """
        self.number += 1
        return BatchEntry(self.worker, self.number, ims, self._committed, self._acknowledged, publishes)

    def note_commit(self) -> None:
        """The batch last entered is committed."""
        self._committed, self._acknowledged = time.time(), None

    def note_acknowledgement(self) -> None:
        """And it is acknowledged. Of a batch without IMs nothing is noted."""
        if self._committed is not None and self._acknowledged is None:
            self._acknowledged = time.time()
            self._quiet_since = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether there is something to say and no next batch to say it with."""
        return self._quiet_since is not None and time.monotonic() - self._quiet_since >= _QUIET_SECONDS

    def note_said(self) -> None:
        """All is said."""
        self._quiet_since = None


def describe_publishes(publishes: Iterable[Publish], numbers: Numbers) -> str:
    """Return publishes as ``archive.log_batch()`` takes it, but for agents of which nothing was stored."""
    rows = []
    for agent, pool, *rest in publishes:
        number = numbers.known_number(agent, pool)
        if number is not None:
            rows.append((number, *rest))
    return msgspec.json.encode(rows).decode()
