"""Chores: a worker's actions beside its batches, each at its interval."""

import time
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

Session = TypeVar("Session")


class Every(Generic[Session]):
    """An action that is due at once, and again some seconds after each time."""

    def __init__(
        self,
        seconds: float,
        action: Callable[[Session], float | None],
        *,
        after_failure: float | None = None,
    ) -> None:
        """``after_failure``: seconds until it is due again if it raises, if not as many.

        ``action`` may return another number of seconds for the next time.
        """
        self._seconds = seconds
        self._action = action
        self._after_failure = seconds if after_failure is None else after_failure
        self._due = 0.0

    def do_if_due(self, session: Session) -> None:
        """Do the action if it is due. Its errors pass through."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self._after_failure
        seconds = self._action(session)
        self._due = time.monotonic() + (self._seconds if seconds is None else seconds)


def do_due(chores: Iterable[Every[Session]], session: Session) -> None:
    """Do the chores that are due, in order. At the first error, which passes through, the others wait."""
    for chore in chores:
        chore.do_if_due(session)
