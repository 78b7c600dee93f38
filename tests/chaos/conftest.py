"""One system for all cases of a run; a case that breaks the promise costs the next a new one."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.chaos.case import Case
from tests.chaos.processes import ProcessCase, Processes

_numbers = itertools.count(1)


class _Kept:
    """The system, while cases leave it whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.system: Processes | None = None
        self.sent: set[UUID] = set()

    def get(self) -> Processes:
        if self.system is None:
            self.system = Processes(self.folder / f"system-{next(_numbers)}")
            self.sent.clear()
            self.system.start()
        return self.system

    def end(self) -> None:
        if self.system is not None:
            self.system.stop()
            self.system = None


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Kept]:
    """The system that cases share."""
    one = _Kept(tmp_path_factory.mktemp("chaos"))
    yield one
    one.end()


@pytest.fixture
def case(kept: _Kept, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ProcessCase]:
    """A case on a system that is whole; its promise is checked when the test is done."""
    one = Case(kept.get(), tmp_path, kept.sent)
    failed = request.session.testsfailed
    try:
        yield one
    finally:
        one.journal.close()
        if request.session.testsfailed > failed:
            kept.end()


@pytest.fixture(params=["critical", "spooling"])
def critical(case: Case[Any], request: pytest.FixtureRequest) -> bool:
    """Whether the pool is critical; each case runs with both."""
    is_critical: bool = request.param == "critical"
    case.system.make_critical(is_critical)
    return is_critical
