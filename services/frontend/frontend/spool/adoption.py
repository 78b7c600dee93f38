"""Adoption: a front end that runs takes over the spool and the agents of one that does not come back.

A slot that it can't take over, as it is another pool's or the disk fails, is reported: no IM that was
answered 202 waits somewhere without a word.
"""

import asyncio
import contextlib
import logging
import time
from typing import Final, Literal, NamedTuple
from uuid import UUID

from frontend.agents_file import AGENTS_FILE, forget_agents, read_agents
from frontend.metrics import LEFT_SLOTS
from frontend.numbering import Numbering
from frontend.spool.rescue import files_aside
from frontend.spool.slot import Slot, slots_beside
from frontend.spool.spool import SPOOL_FILE, Spool, SpoolError
from frontend.told import TOLD_FILE, read_told

log = logging.getLogger("frontend")

Kind = Literal["another pool", "disk", "damaged"]
_KINDS: Final[tuple[Kind, ...]] = ("another pool", "disk", "damaged")
_AGAIN_SECONDS: Final = 10.0
_MOST_AGAIN_SECONDS: Final = 600.0


class Left(NamedTuple):
    """The trouble of a slot."""

    kind: Kind
    why: str
    waits: bool = False
    """True if IMs of this pool wait in it."""


_DAMAGED: Final = Left("damaged", "a damaged spool was set aside in it; what could be read was taken over")


class Adoption:
    """Takes over the free slots of a volume, and reports those that need an operator."""

    def __init__(self, pool: str, spool: Spool, numbering: Numbering) -> None:
        self._pool = pool
        self._spool = spool
        self._numbering = numbering
        self._stated: set[tuple[UUID, int]] = set()
        self._empty: dict[str, list[tuple[int, int]]] = {}
        """Of empty slots: inodes and times of their files."""
        self._again: dict[str, tuple[float, float]] = {}
        """When a slot in trouble is looked into again, and how long that was put off."""
        self.left: dict[str, Left] = {}
        """Slots with a trouble, by name."""
        self.waits = ""
        """Why IMs wait in a free slot of this pool; empty if none do."""

    async def look(self, *, adopt: bool) -> None:
        """Look at all slots; ``adopt``: also into free ones."""
        mine = self._spool.slot
        if mine is None:
            return
        found: dict[str, Left] = {}
        try:
            if await asyncio.to_thread(files_aside, mine.folder / SPOOL_FILE):
                found[mine.folder.name] = await self._look_after_ours()
            slots = slots_beside(mine)
            while (item := await asyncio.to_thread(next, slots, None)) is not None:
                name, slot = item
                known = self.left.get(name)
                if isinstance(slot, OSError):
                    left: Left | None = Left("disk", f"it can't be looked into: {slot}")
                elif slot is None:
                    left = None
                elif not adopt or self._is_early(name) or self._is_as_it_was(slot):
                    left = known
                else:
                    left = await self._look_into(slot)
                self._note(name, known, left, found)
        except OSError as error:
            found["."] = Left("disk", f"the slots can't be looked at: {error}")
        self.left = found
        self.waits = next((f"slot {name}: {left.why}" for name, left in found.items() if left.waits), "")
        for kind in _KINDS:
            LEFT_SLOTS.labels(kind).set(sum(left.kind == kind for left in found.values()))

    async def _look_after_ours(self) -> Left:
        """Return the trouble of our own slot, which has a damaged file."""
        try:
            why = await self._spool.rescue()
        except SpoolError as error:
            why = str(error)
        if not why:
            return _DAMAGED
        return Left("disk", f"IMs of a damaged spool can't be taken over: {why}", waits=True)

    def _is_early(self, name: str) -> bool:
        return time.monotonic() < self._again.get(name, (0.0, 0.0))[0]

    def _is_as_it_was(self, slot: Slot) -> bool:
        """Return True if an empty slot has not changed."""
        return slot.folder.name not in self.left and self._empty.get(slot.folder.name) == _looks_of(slot)

    def _note(self, name: str, known: Left | None, left: Left | None, found: dict[str, Left]) -> None:
        if left is None:
            self._again.pop(name, None)
            return
        found[name] = left
        if left is known:
            return
        if known is None or known.why != left.why:
            log.error("a slot is left as it is", extra={"slot": name, "why": left.why[:300]})
        pause = min(2 * self._again.get(name, (0.0, _AGAIN_SECONDS / 2))[1], _MOST_AGAIN_SECONDS)
        self._again[name] = (time.monotonic() + pause, pause)

    async def _look_into(self, slot: Slot) -> Left | None:
        """Take over a slot's IMs and agents, if it is our pool's; return the trouble that is left."""
        try:
            agents = await asyncio.to_thread(read_agents, slot.folder)
            adopted = await self._spool.adopt(slot)
            if not adopted.stay:  # else there was no room here: the rest comes once ours are sent
                self._empty[slot.folder.name] = _looks_of(slot)
            if adopted.pool not in ("", self._pool):
                left = f"{adopted.stay} IMs and {len(agents)} agents"
                why = f"{left} wait for a front end of pool {adopted.pool!r}"
                return Left("another pool", why) if adopted.stay or agents else None
            if adopted.ims:
                log.info("adopted a spool", extra={"slot": slot.folder.name, "ims": adopted.ims})
            self._adopt_agents(slot, agents)
            await self._adopt_told(slot)
            if adopted.trouble:
                return Left("disk", adopted.trouble)
            return _DAMAGED if await asyncio.to_thread(files_aside, slot.folder / SPOOL_FILE) else None
        except (SpoolError, OSError) as error:
            return Left("disk", f"it can't be adopted: {error}", waits=True)

    def _adopt_agents(self, slot: Slot, agents: dict[UUID, int]) -> None:
        """Have the statements of agents published; once, also where their slot can't note that. Raises
        OSError."""
        new = dict(agents.items() - self._stated)
        self._stated |= new.items()
        if self._numbering.adopt(new):
            forget_agents(slot.folder)

    async def _adopt_told(self, slot: Slot) -> None:
        """Take over the agents of which an archive was told; again where their slot can't note that: no
        harm."""
        told = await asyncio.to_thread(read_told, slot.folder)
        if told and self._numbering.told.add(told):
            with contextlib.suppress(OSError):
                (slot.folder / TOLD_FILE).unlink(missing_ok=True)


def _looks_of(slot: Slot) -> list[tuple[int, int]]:
    """Return inodes and times of a slot's files, which differ once it was written to."""
    looks = []
    for name in (SPOOL_FILE, AGENTS_FILE, TOLD_FILE):
        with contextlib.suppress(OSError):
            stat = (slot.folder / name).stat()
            looks.append((stat.st_ino, stat.st_mtime_ns))
    return looks
