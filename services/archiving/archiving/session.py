"""A worker's session with the database: opened when it is needed, closed when an action in it fails."""

import logging
import threading
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

import psycopg

from archiving.evidence import DOUBT_PAUSE, DoubtError, NoVerdictError

log = logging.getLogger("archiving")

_FIRST_PAUSE: Final = 0.1
_MAX_PAUSE: Final = 2.0
_WARNINGS: Final = (
    (NoVerdictError, "no verdict on what comes again"),
    (DoubtError, "some of a batch can't be stored, and more evidence is needed"),
    (
        psycopg.errors.ObjectNotInPrerequisiteState,
        "the archive is another than before: its numbers are asked for anew",
    ),
    (psycopg.Error, "database out of reach"),
)
"""Kinds of errors, each with its log message; the first that fits counts."""


class _Closeable(Protocol):
    def close(self) -> None: ...


Opened = TypeVar("Opened", bound=_Closeable)


class DatabaseSession(Generic[Opened]):
    """One session after another, in one thread. Other threads may read ``current``."""

    def __init__(self, open_session: Callable[[], Opened]) -> None:
        self._open_session = open_session
        self.current: Opened | None = None
        """None while the database is away."""

    def get(self) -> Opened:
        """Return the session, a new one if there is none. Errors in opening it pass through."""
        if self.current is None:
            self.current = self._open_session()
            log.info("connected to the database")
        return self.current

    def attempt(self, action: Callable[[Opened], object]) -> Exception | None:
        """Act in the session. If that raises, log and return the error, and close the session.

        The cause may lie in the session: the next attempt has another.
        """
        try:
            action(self.get())
        except Exception as error:
            _log(error)
            self.close()
            return error
        return None

    def persist(
        self, action: Callable[[Opened], object], stopping: threading.Event, is_void: Callable[[], bool]
    ) -> bool:
        """Attempt an action until it succeeds, with growing pauses.

        Return False once ``stopping`` is set, or the action is void by then.
        """
        pause = _FIRST_PAUSE
        while (error := self.attempt(action)) is not None:
            pause = DOUBT_PAUSE if isinstance(error, DoubtError) else pause
            if stopping.wait(pause) or is_void():
                return False
            pause = min(pause * 2, _MAX_PAUSE)
        return True

    def close(self) -> None:
        """Close the session, if there is one."""
        if self.current is not None:
            self.current.close()
            self.current = None


def _log(error: Exception) -> None:
    fields = {"error": repr(error)[:300], "sqlstate": getattr(error, "sqlstate", None)}
    for kind, message in _WARNINGS:
        if isinstance(error, kind):
            log.warning(message, extra=fields)
            return
    log.error("nothing can be stored", extra=fields, exc_info=error)
