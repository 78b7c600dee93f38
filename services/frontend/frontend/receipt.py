"""The receipt that a caller holds for an IM taken in: the decision, and the IM's fate."""

import asyncio
from typing import Final, Literal
from uuid import UUID

import msgspec

from contract.policy import Decision


class Fate(msgspec.Struct, frozen=True):
    """The fate of an IM."""

    kind: Literal["confirmed", "spooled", "refused", "not archived"]
    why: str = ""
    """Why it could not be made safe."""


CONFIRMED: Final = Fate("confirmed")
SPOOLED: Final = Fate("spooled")
NOT_ARCHIVED: Final = Fate("not archived")
"""By policy."""


class Notice(msgspec.Struct, frozen=True):
    """A text for one partner, delivered before the IM: the conversation is archived."""

    to: str
    sender: str
    """A participant of ours, as a SIP URI."""
    language: str
    text: str


class Receipt(msgspec.Struct, eq=False, gc=False):
    """The receipt of one IM."""

    id: UUID
    decision: Decision
    fate: Fate | None = None
    """None while the IM is on its way."""
    notices: tuple[Notice, ...] = ()
    """To be delivered before the IM; known when the fate is."""
    _waiter: "asyncio.Future[None] | None" = None
    """Made when a caller waits: most IMs of a stream share one confirm, and nothing waits for them alone."""

    def settle(self, fate: Fate) -> None:
        """Note the IM's fate, once."""
        self.fate = fate
        if self._waiter is not None:
            self._waiter.set_result(None)

    async def settled(self) -> Fate:
        """Wait for the IM's fate and return it. Cancelling the wait does not withdraw the IM."""
        if self.fate is None:
            if self._waiter is None:
                self._waiter = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._waiter)
        assert self.fate is not None
        return self.fate
