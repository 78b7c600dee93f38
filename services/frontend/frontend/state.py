"""A front end's state as operators see it: its name, since when and why; logged and counted as it changes."""

import logging
from datetime import UTC, datetime
from typing import Final, get_args

import msgspec

from frontend.metrics import STATE
from frontend.situation import StateName

log = logging.getLogger("frontend")

_NAMES: Final[tuple[StateName, ...]] = get_args(StateName)


class State(msgspec.Struct, frozen=True):
    """A state: see ``Situation.state``."""

    name: StateName
    why: str
    since: datetime
    """When the state got its name; its reason may have changed since."""

    def follow(self, name: StateName, why: str) -> "State":
        """Return the state that comes next: this one while name and reason are the same."""
        if (name, why) == (self.name, self.why):
            return self
        return State(name, why, self.since if name == self.name else datetime.now(UTC))


def begin_state() -> State:
    """Return the state of a front end that starts, and count it: nothing is safe yet."""
    state = State("blocking", "starting", datetime.now(UTC))
    _count(state)
    return state


def note_state(state: State, before: State) -> None:
    """Log a state that is not the one before, and count it."""
    level = logging.INFO if state.name == "normal" else logging.WARNING
    log.log(level, "state", extra={"state": state.name, "before": before.name, "why": state.why})
    _count(state)


def _count(state: State) -> None:
    for name in _NAMES:
        STATE.labels(name).set(name == state.name)
