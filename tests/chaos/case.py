"""One case: a system, a journal, load, and the promise to be checked at the end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar
from uuid import UUID

import pytest

from tests.chaos.journal import Journal
from tests.chaos.load import Load
from tests.chaos.oracle import SECONDS, check
from tests.chaos.system import System

SystemT = TypeVar("SystemT", bound=System)


class Case(Generic[SystemT]):
    """One case on a system that others have used before it."""

    def __init__(self, system: SystemT, folder: Path, sent: set[UUID]) -> None:
        """``sent``: what earlier cases sent."""
        self.system = system
        self.journal = Journal(folder / "journal")
        self._sent = sent

    @contextmanager
    def load(self, *, senders: int = 3, streams: int = 1, duplicates: bool = False) -> Iterator[Load]:
        """Run load for the length of the ``with`` block, from when the first IMs are safe."""
        token = self.system.tokens["connector"]
        load = Load(
            self.system.urls, token, self.journal, senders=senders, streams=streams, duplicates=duplicates
        )
        with load:
            load.wait_for_safe(50)
            yield load

    def check(self, *, seconds: float = SECONDS) -> None:
        """Check the promise."""
        check(self.system, self.journal, others=self._sent, seconds=seconds)


class Shared(Generic[SystemT]):
    """One system for all cases of a run; a case that fails costs the next a new one."""

    def __init__(self, make: Callable[[], SystemT]) -> None:
        """``make``: makes a system that is not started yet."""
        self._make = make
        self._system: SystemT | None = None
        self._sent: set[UUID] = set()

    @contextmanager
    def case(self, folder: Path, session: pytest.Session) -> Iterator[Case[SystemT]]:
        """A case on a system that is whole; ``folder`` is for its journal."""
        system = self._system or self._start()
        one = Case(system, folder, self._sent)
        failed = session.testsfailed
        try:
            system.wait_until_whole()
            yield one
        finally:
            one.journal.close()
            self._sent |= one.journal.sent
            if session.testsfailed > failed:
                self.end()

    def _start(self) -> SystemT:
        self._sent = set()
        self._system = system = self._make()
        try:
            system.start()
        except BaseException:
            self.end()
            raise
        return system

    def end(self) -> None:
        """Stop the system, if one runs."""
        if self._system is not None:
            self._system.stop()
            self._system = None
