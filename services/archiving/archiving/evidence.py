"""Evidence: does the fault lie in an item, or in the database, if the item cannot be stored?

The class of an error does not tell; a rehearsal does: a faultless item is stored and rolled back. An item
that fails again and again, each time right after a successful rehearsal, is refused. While rehearsals fail
too, nothing is known, and everything waits.
"""

import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

import psycopg

Item = TypeVar("Item")

IN_ITEM: Final = (
    ValueError,
    OverflowError,
    RecursionError,
    struct.error,
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.ProgramLimitExceeded,  # too large for an index, say
)
"""Errors that nearly always lie in an item: less evidence is enough."""

_TIMES: Final = 2
_TIMES_AT_MOST: Final = 8
"""How often an item fails after a successful rehearsal until it is refused. The latter are each in a session
of its own, for any error of another kind may be a moment's."""


DOUBT_PAUSE: Final = 0.3
"""Seconds from a DoubtError to the next try: the database is there, so longer gains nothing."""


class DoubtError(Exception):
    """Raised when some items failed though others would be stored: more evidence is needed, a bit later."""


class NoVerdictError(Exception):
    """Raised when a trial is cut short: no child could begin, the database was away, a signal ended it."""


class _Piece(Generic[Item]):
    def __init__(self, items: Sequence[Item], *, failed: bool) -> None:
        self.items = items
        self.failed = failed
        """True if it failed, or is half of a piece that did: it is tried only after a rehearsal."""
        self.times = 0
        """How often it failed alone, after a successful rehearsal."""


class Sieve(Generic[Item]):
    """Stores items together, and by halves where some cannot be stored; it refuses those, each alone."""

    def __init__(self, items: Sequence[Item], refuse: Callable[[Item, str], object]) -> None:
        """``refuse`` receives an item and the reason."""
        self._pieces = deque([_Piece(list(items), failed=False)] if items else [])
        self._refuse = refuse

    def sift(
        self, store: Callable[[Sequence[Item]], object], rehearse: Callable[[Sequence[Item]], object]
    ) -> None:
        """Store all items that can be stored, and refuse the others.

        ``store`` stores items together, and may be called again with items that it has stored; ``rehearse``
        stores faultless ones like them and rolls back. Raises DoubtError, and the error of the first
        rehearsal: then the caller takes a new session and calls again, until nothing is raised.
        """
        doubtful: list[_Piece[Item]] = []
        doubt: Exception | None = None
        rehearsed = False
        try:
            while self._pieces:
                piece = self._pieces[0]
                if piece.failed:
                    try:
                        rehearse(piece.items)
                    except Exception as away:
                        if not rehearsed:
                            raise
                        doubt = doubt or away  # what was tried since it went well may have ended the session
                        break
                    rehearsed = True
                error = _try(store, piece.items)
                if error is not None and len(piece.items) > 1:
                    middle = len(piece.items) // 2
                    halves = piece.items[:middle], piece.items[middle:]
                    self._pieces[0] = _Piece(halves[0], failed=True)
                    self._pieces.insert(1, _Piece(halves[1], failed=True))
                    continue
                if error is not None:
                    piece.times += piece.failed
                    piece.failed = True
                    if piece.times < (_TIMES if isinstance(error, IN_ITEM) else _TIMES_AT_MOST):
                        if isinstance(error, IN_ITEM):
                            continue
                        doubtful.append(piece)
                        doubt = error
                    else:
                        self._refuse(piece.items[0], f"cannot be stored: {str(error) or repr(error)}")
                self._pieces.popleft()
        finally:
            self._pieces.extendleft(reversed(doubtful))
        if doubt is not None:
            raise DoubtError(str(doubt)) from doubt


def _try(store: Callable[[Sequence[Item]], object], items: Sequence[Item]) -> Exception | None:
    try:
        store(items)
    except Exception as error:
        return error
    return None
