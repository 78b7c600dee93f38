"""Evidence: whether it lies in a thing or in the database that the thing cannot be stored.

No error tells by its class. What tells is a rehearsal: something like the thing is stored and taken back. A
thing that fails right after a rehearsal went well, again and again, is refused; while rehearsals fail too,
nothing is known, and everything waits.
"""

import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

import psycopg

Thing = TypeVar("Thing")

IN_THINGS: Final = (
    ValueError,
    OverflowError,
    RecursionError,
    struct.error,
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.ProgramLimitExceeded,  # too large for an index, say
)
"""Errors that nearly always lie in a thing: less evidence will do."""

_TIMES: Final = 2
_TIMES_AT_MOST: Final = 8
"""How often a thing fails after a rehearsal that went well until it is refused; the latter each in a session
of its own, for any error of another kind may be a moment's."""


DOUBT_PAUSE: Final = 0.3
"""Seconds from a DoubtError to the next try: the database is there, so longer gains nothing."""


class DoubtError(Exception):
    """Some things failed though others would be stored: more evidence is needed, a little later."""


class NoVerdictError(Exception):
    """A trial was cut short: the child could not begin, the database was away, or somebody ended it."""


class _Piece(Generic[Thing]):
    def __init__(self, things: Sequence[Thing], *, failed: bool) -> None:
        self.things = things
        self.failed = failed
        """Whether it failed, or what it is a half of: it is tried only after a rehearsal."""
        self.times = 0
        """It failed alone, after a rehearsal that went well."""


class Sieve(Generic[Thing]):
    """Stores things together, and by halves where some cannot be stored; those are refused, each alone."""

    def __init__(self, things: Sequence[Thing], refuse: Callable[[Thing, str], object]) -> None:
        """``refuse`` is told why a thing cannot be stored."""
        self._pieces = deque([_Piece(list(things), failed=False)] if things else [])
        self._refuse = refuse

    def sift(
        self, store: Callable[[Sequence[Thing]], object], rehearse: Callable[[Sequence[Thing]], object]
    ) -> None:
        """Store what can be stored, and refuse the rest.

        ``store`` stores things together, and may be called again with what it has stored already;
        ``rehearse`` stores things like these and takes them back. Raises what ``rehearse`` raises at first,
        and DoubtError: then the caller takes a new session and comes again, until nothing is raised.
        """
        doubtful: list[_Piece[Thing]] = []
        doubt: Exception | None = None
        rehearsed = False
        try:
            while self._pieces:
                piece = self._pieces[0]
                if piece.failed:
                    try:
                        rehearse(piece.things)
                    except Exception as away:
                        if not rehearsed:
                            raise
                        doubt = doubt or away  # what was tried since it went well may have ended the session
                        break
                    rehearsed = True
                error = _try(store, piece.things)
                if error is not None and len(piece.things) > 1:
                    middle = len(piece.things) // 2
                    halves = piece.things[:middle], piece.things[middle:]
                    self._pieces[0] = _Piece(halves[0], failed=True)
                    self._pieces.insert(1, _Piece(halves[1], failed=True))
                    continue
                if error is not None:
                    piece.times += piece.failed
                    piece.failed = True
                    if piece.times < (_TIMES if isinstance(error, IN_THINGS) else _TIMES_AT_MOST):
                        if isinstance(error, IN_THINGS):
                            continue
                        doubtful.append(piece)
                        doubt = error
                    else:
                        self._refuse(piece.things[0], f"cannot be stored: {str(error) or repr(error)}")
                self._pieces.popleft()
        finally:
            self._pieces.extendleft(reversed(doubtful))
        if doubt is not None:
            raise DoubtError(str(doubt)) from doubt


def _try(store: Callable[[Sequence[Thing]], object], things: Sequence[Thing]) -> Exception | None:
    try:
        store(things)
    except Exception as error:
        return error
    return None
