"""Cases on the system as processes."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.case import Case, Shared
from tests.chaos.processes import ProcessCase, Processes


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared[Processes]]:
    """The system that cases share."""
    folder, numbers = tmp_path_factory.mktemp("chaos"), itertools.count(1)
    shared = Shared(lambda: Processes(folder / f"system-{next(numbers)}"))
    yield shared
    shared.end()


@pytest.fixture
def case(
    processes: Shared[Processes], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[ProcessCase]:
    """A case on processes."""
    with processes.case(tmp_path, request.session) as one:
        yield one


@pytest.fixture(params=["critical", "spooling"])
def critical(case: Case[Any], request: pytest.FixtureRequest) -> bool:
    """Whether the pool is critical; each case runs with both."""
    is_critical: bool = request.param == "critical"
    case.system.make_critical(is_critical)
    return is_critical
