"""What a caller holds for an IM that was taken in: what was decided, and what becomes of it."""

import asyncio
from typing import Final, Literal
from uuid import UUID

import msgspec

from contract.policy import Decision


class Fate(msgspec.Struct, frozen=True):
    """What became of an IM."""

    kind: Literal["confirmed", "spooled", "refused", "not archived"]
    why: str = ""
    """Why it could not be made safe."""


CONFIRMED: Final = Fate("confirmed")
SPOOLED: Final = Fate("spooled")
NOT_ARCHIVED: Final = Fate("not archived")
"""By policy."""


class Notice(msgspec.Struct, frozen=True):
    """What a federated partner is to be told before an IM: that the conversation is archived."""

    to: str
    sender: str
    """One of ours who takes part."""
    language: str
    text: str


class Receipt(msgspec.Struct, eq=False, gc=False):
    """An IM on its way, or what became of it."""

    id: UUID
    decision: Decision
    fate: Fate | None = None
    """None: nobody knows yet."""
    notices: tuple[Notice, ...] = ()
    """To be delivered with it: known when the fate is."""
    _waiter: "asyncio.Future[None] | None" = None
    """Made for whoever waits: of a stream's IMs hardly any is waited for, they share one confirm."""

    def settle(self, fate: Fate) -> None:
        """Say what became of it, once."""
        self.fate = fate
        if self._waiter is not None:
            self._waiter.set_result(None)

    async def settled(self) -> Fate:
        """Wait until it is known, and return it. Who goes away takes nothing back: the IM is on its way."""
        if self.fate is None:
            if self._waiter is None:
                self._waiter = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._waiter)
        assert self.fate is not None
        return self.fate
