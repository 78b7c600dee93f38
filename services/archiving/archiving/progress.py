"""Up to when a worker has read the queue: what was put there before, and isn't archived, comes no more."""

import time
from collections.abc import Sequence
from typing import Final

from archiving.delivery import Delivery

_LOOK_SECONDS: Final = 1.0
_IN_HANDS_SECONDS: Final = 10.0
"""So long another worker may have in its hands what it took before the queue was seen empty."""
_CLOCKS_SECONDS: Final = 60.0
"""So far front ends' clocks may be apart from this one; with time for a confirm and for another worker."""


class Progress:
    """What one worker knows of it. The queue gives out its messages in the order in which they came."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._until = 0.0
        self._said = 0.0
        self._look_at = 0.0

    def note_empty(self, at: float) -> None:
        """Nothing waited on the queue, nor was in this worker's hands; ``at``: by ``time.monotonic``."""
        self._until = max(self._until, at - _IN_HANDS_SECONDS)

    def note_stored(self, deliveries: Sequence[Delivery]) -> None:
        """These came one after another, and are stored; now and then they are looked at.

        The earliest of their times counts, so that one front end's clock that is ahead does no harm.
        """
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            published = min(delivery.properties.timestamp or 0 for delivery in deliveries)
            ago = max(time.time() - published, 0) + _CLOCKS_SECONDS
            self._until = max(self._until, now - ago)

    def take(self) -> float | None:
        """Return up to how many seconds ago the queue has been read; None if that is no news."""
        if self._until <= self._said:
            return None
        self._said = self._until
        return time.monotonic() - self._until
