"""Newcomers: people in large groups that this front end meets for the first time, counted by connector.

The archive gives each a number, some 20,000 a second, and all IMs wait meanwhile. So a connector may bring
many at once, but not again and again: IMs beyond its share wait at its side.
"""

import math
import time
from typing import Final

from frontend.im import CheckedIM, IMProblem

SMALL: Final = 8
"""Recipients of an IM that need not be looked at."""
_AT_ONCE: Final = 20_000
_PER_SECOND: Final = 5_000
_MAX_KNOWN: Final = 250_000
"""People that are remembered, twice: 30 MB."""


class Newcomers:
    """How many people each connector may still bring."""

    def __init__(self) -> None:
        self._known: set[int] = set()
        self._known_before: set[int] = set()
        self._left: dict[str, tuple[float, float]] = {}
        """Of each connector, and when that was."""

    def check(self, im: CheckedIM, connector: str) -> None:
        """Raise IMProblem (503) if an IM of a large group has to wait."""
        if seconds := self.admit(connector, im.recipients, time.monotonic()):
            raise IMProblem(
                im.id,
                503,
                "you bring more new people than others' IMs can wait for: send it again later",
                headers={"Retry-After": str(math.ceil(seconds))},
            )

    def admit(self, connector: str, recipients: tuple[str, ...], now: float) -> float:
        """Return 0 if a large group may come now, else in how many seconds; ``now`` by ``time.monotonic``."""
        known, before = self._known, self._known_before
        new = {key for key in map(hash, recipients) if key not in known and key not in before}
        if not new:
            return 0
        left, at = self._left.get(connector, (_AT_ONCE, now))
        left = min(_AT_ONCE, left + (now - at) * _PER_SECOND)
        if left <= 0:
            self._left[connector] = left, now
            return -left / _PER_SECOND + 0.001
        self._left[connector] = left - len(new), now
        known |= new
        if len(known) > _MAX_KNOWN:
            self._known, self._known_before = set(), known
        return 0
