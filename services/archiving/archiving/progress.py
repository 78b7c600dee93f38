"""Progress of reading the queue: IMs published before, and not archived by now, come no more."""

import time
from collections.abc import Sequence
from typing import Final

from archiving.delivery import Delivery

_LOOK_SECONDS: Final = 1.0
_IN_HANDS_SECONDS: Final = 10.0
"""Seconds for which another worker may hold deliveries that it took before the queue was seen empty."""
_CLOCKS_SECONDS: Final = 60.0
"""Seconds by which front ends' clocks may differ from this one, with time for a confirm and another worker.
"""


class Progress:
    """One worker's view of it. The queue hands out its messages in the order of their arrival."""

    def __init__(self) -> None:
        self._until = 0.0
        self._said = 0.0
        self._look_at = 0.0

    def note_empty(self, at: float) -> None:
        """Note that the queue and this worker's hands were empty ``at`` a time by ``time.monotonic``."""
        self._until = max(self._until, at - _IN_HANDS_SECONDS)

    def note_stored(self, deliveries: Sequence[Delivery]) -> None:
        """Note deliveries that came one after another and are stored. Once a second they are looked at.

        The earliest of their times counts, so that a front end's fast clock does no harm.
        """
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            published = min(delivery.properties.timestamp or 0 for delivery in deliveries)
            ago = max(time.time() - published, 0) + _CLOCKS_SECONDS
            self._until = max(self._until, now - ago)

    def take(self) -> float | None:
        """Return up to how many seconds ago the queue has been read; None if that was returned before."""
        if self._until <= self._said:
            return None
        self._said = self._until
        return time.monotonic() - self._until
