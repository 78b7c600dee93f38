"""Ranges of the numbers that agents give their IMs."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

from contract.message import IM, MAX_SEQ


class NumberRange(NamedTuple):
    """Some of an agent's numbers, from ``first`` to ``last``."""

    agent: UUID
    pool: str
    first: int
    last: int

    def check(self) -> None:
        """Raise ValueError for numbers that no agent reaches."""
        if not 1 <= self.first <= self.last <= MAX_SEQ:
            raise ValueError(f"its numbers, {self.first} to {self.last}, are out of bounds")


def ranges_of(ims: Sequence[IM]) -> Iterable[NumberRange]:
    """Yield the runs of IMs that one agent numbered without a gap."""
    if not ims:
        return
    first = last = ims[0]
    for im in ims[1:]:
        if im.seq != last.seq + 1 or im.agent.int != last.agent.int:
            yield NumberRange(first.agent, first.pool, first.seq, last.seq)
            first = im
        last = im
    yield NumberRange(first.agent, first.pool, first.seq, last.seq)
