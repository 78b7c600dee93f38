"""The journal: what was sent and what was answered, on disk before anything follows from it."""

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

SAFE = frozenset({201, 202})
"""Answers that promise that an IM is archived."""


class Journal:
    """An append-only file of lines ``sent ID`` and ``answered ID STATUS``; status 0: no answer came."""

    def __init__(self, path: Path) -> None:
        """Begin a new one."""
        self._file = path.open("x", buffering=1)  # by the line: what a kill of ours leaves is whole
        self._lock = threading.Lock()
        self.sent: set[UUID] = set()
        self.forged: set[UUID] = set()
        """Agents in whose name something came that no front end sent: their numbers say nothing."""
        self.apart: dict[UUID, tuple[str, str]] = {}
        """Sender and pool of what the load did not send: the front end made its ids."""
        self._answers: Counter[int] = Counter()
        self._answered: dict[int, set[UUID]] = defaultdict(set)

    def note_sent(self, ids: Iterable[UUID]) -> None:
        """Note that IMs go out now."""
        with self._lock:
            for im_id in ids:
                self.sent.add(im_id)
                self._file.write(f"sent {im_id}\n")

    def note_answer(self, im_id: UUID, status: int) -> None:
        """Note what was answered."""
        with self._lock:
            self._answers[status] += 1
            self._answered[status].add(im_id)
            self._file.write(f"answered {im_id} {status}\n")

    @property
    def safe(self) -> set[UUID]:
        """The IMs that were promised to be archived."""
        return self.answered(SAFE)

    def answered(self, any_of: frozenset[int]) -> set[UUID]:
        """Return the IMs that were answered so."""
        with self._lock:
            return set().union(*(self._answered[status] for status in any_of))

    def count(self, status: int) -> int:
        """Return how many answers had a status."""
        with self._lock:
            return self._answers[status]

    def close(self) -> None:
        """End it."""
        self._file.close()
