"""The situation: the facts of a moment from which a front end's route and state follow."""

from typing import Final, Literal

import msgspec

Route = Literal["publish", "spool", "refuse"]
StateName = Literal["normal", "spooling", "blocking"]

NEARLY_EMPTY: Final = 2000
"""IMs in the spool that are published in so short a time that new ones may wait for it."""


class Situation(msgspec.Struct, frozen=True, gc=False):
    """All facts that decide where an IM goes. Nothing here changes them, and nothing else combines them."""

    critical: bool
    """The pool delivers nothing that the broker has not confirmed."""
    broker_trouble: str
    """Why the broker takes nothing; empty while it does."""
    spool_trouble: str
    """Why the spool takes nothing; empty while it does."""
    spool_stuck: str
    """Why the spool's IMs can't be read to be sent; empty while they can."""
    spooled: int
    """IMs on disk."""
    writing: bool
    """IMs are on their way to disk."""
    left: str
    """Why IMs wait in a slot of this pool that no front end has; empty if none do."""

    @property
    def route(self) -> Route:
        """Where a new IM goes: ``publish`` (its lane's queue) or ``spool``.

        No IM waits for an absent broker, or behind a long spool, if it may be spooled.
        """
        if not self.broker_trouble and self.spooled <= NEARLY_EMPTY:
            return "publish"  # as nearly always
        if self.critical or not (self.broker_trouble or self._spool_is_ready):
            return "publish"
        return "spool"

    @property
    def fallback(self) -> Route:
        """Where an IM goes that the broker did not take: ``spool`` or ``refuse``."""
        return "refuse" if self.critical else "spool"

    @property
    def holds_queue(self) -> bool:
        """True while queued IMs wait for spooled ones, which came before them.

        They do not wait where they may not be spooled, or the spool can't take or send IMs.
        """
        return (self.spooled > 0 or self.writing) and self._spool_is_ready and not self.critical

    @property
    def is_at_leisure(self) -> bool:
        """True while the broker takes IMs and none waits on disk: so there is room for a left slot's."""
        return not self.broker_trouble and not self.spooled

    @property
    def _spool_is_ready(self) -> bool:
        return not (self.spool_trouble or self.spool_stuck)

    @property
    def state(self) -> tuple[StateName, str]:
        """The front end's state, and why.

        ``normal``: the broker confirms. ``spooling``: IMs go to this front end's disk, or are still on their
        way from there. ``blocking``: an IM that must be archived is answered 503.
        """
        if self.broker_trouble and self.critical:
            return "blocking", self.broker_trouble
        if self.broker_trouble and self.spool_trouble:
            return "blocking", self.spool_trouble
        if self.broker_trouble:
            return "spooling", self.broker_trouble
        if self.spooled:
            return "spooling", self.spool_stuck or "the broker is back: the spool is being sent"
        if self.left:
            return "spooling", self.left
        return "normal", "the broker confirms"
