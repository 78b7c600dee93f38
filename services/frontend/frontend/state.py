"""How a front end stands: normal, spooling or blocking; since when and why."""

import logging
from datetime import UTC, datetime
from typing import Final, Literal

from frontend.metrics import STATE

log = logging.getLogger("frontend")

Name = Literal["normal", "spooling", "blocking"]
_NAMES: Final[tuple[Name, ...]] = ("normal", "spooling", "blocking")


class State:
    """The present state. ``normal``: the broker confirms. ``spooling``: IMs go to this front end's disk, or
    are still on their way from there. ``blocking``: an IM that must be archived is answered 503.
    """

    def __init__(self) -> None:
        """Nothing is known yet, so nothing is safe."""
        self.name: Name = "blocking"
        self.why = "starting"
        self.since = datetime.now(UTC)
        self._show()

    def change(self, name: Name, why: str) -> None:
        """Note the state; a new one, or a new reason for it, is logged as an event."""
        if (name, why) == (self.name, self.why):
            return
        if name != self.name:
            self.since = datetime.now(UTC)
        before, self.name, self.why = self.name, name, why
        level = logging.INFO if name == "normal" else logging.WARNING
        log.log(level, "state", extra={"state": name, "before": before, "why": why})
        self._show()

    def _show(self) -> None:
        for name in _NAMES:
            STATE.labels(name).set(name == self.name)
