"""Bulkheads: people and front ends have sessions and places of their own, so neither exhausts the other's.

A request has a place from the reading of its body until its answer is made. There are as many places as
sessions with the database, and a session needs one thread at most, so a request with a place waits for
neither.
"""

import asyncio
from typing import Annotated, Final

from fastapi import Depends, Request

from admin_api.database import Database
from runtime.problem import Problem

_WAIT_SECONDS: Final = 5.0
_PEOPLE: Final = 12
_OF_A_PERSON: Final = 4
_FRONT_ENDS: Final = 8
"""Each front end may take all places: they share one token."""
_OWN: Final = 4
"""Sessions: one for samples, one for readiness, two for snapshots."""


class Bulkhead:
    """The sessions and places of one kind of callers."""

    def __init__(self, url: str, places: int, each: int) -> None:
        """``each``: places that one principal may hold at once."""
        self.database = Database(url, places)
        self._places = asyncio.Semaphore(places)
        self._each = each
        self._of: dict[str, asyncio.Semaphore] = {}

    async def enter(self, name: str) -> None:
        """Take a place for a principal, within seconds.

        Raises Problem: 429 if the principal holds all places it may have, 503 if all places are taken.
        """
        own = self._of.setdefault(name, asyncio.Semaphore(self._each))
        until = asyncio.get_running_loop().time() + _WAIT_SECONDS
        if not await _acquire(own, until):
            raise Problem(
                429,
                f"{name} has {self._each} requests under way: wait for their answers first.",
                headers={"Retry-After": "1"},
            )
        entered = False
        try:
            entered = await _acquire(self._places, until)
        finally:
            if not entered:
                own.release()
        if not entered:
            raise Problem(503, "Too many requests are under way. Try again.", headers={"Retry-After": "1"})

    def leave(self, name: str) -> None:
        """Give a principal's place back."""
        self._places.release()
        self._of[name].release()


async def _acquire(semaphore: asyncio.Semaphore, until: float) -> bool:
    try:
        async with asyncio.timeout_at(until):
            return await semaphore.acquire()
    except TimeoutError:
        return False


class Bulkheads:
    """The bulkheads of people and of front ends, and the service's own sessions."""

    def __init__(self, url: str) -> None:
        """``url``: the database's."""
        self.people = Bulkhead(url, _PEOPLE, _OF_A_PERSON)
        self.front_ends = Bulkhead(url, _FRONT_ENDS, _FRONT_ENDS)
        self.own = Database(url, _OWN)

    def close(self) -> None:
        """End all sessions that are not in use."""
        for database in (self.people.database, self.front_ends.database, self.own):
            database.close()


def _database_of(request: Request) -> Database:
    bulkhead: Bulkhead = request.state.bulkhead
    return bulkhead.database


DatabaseDep = Annotated[Database, Depends(_database_of)]
"""The database, through the sessions of the caller's bulkhead."""
