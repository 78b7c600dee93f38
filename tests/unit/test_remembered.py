"""What the front end remembers of IMs, to be fast, is bounded in bytes."""

import json
import random
import tracemalloc
from collections.abc import Callable

from frontend.decisions import Decisions
from frontend.submission import CheckedIM, read_submission
from tests.unit.agent_port import CONNECTOR, SETTINGS, Policies

_PEOPLE = [f"user.number{number}@contoso.com" for number in range(2000)]


def _read(sender: str, recipients: list[str]) -> CheckedIM:
    document = {"sender": sender, "recipients": recipients, "body": "hello"}
    return read_submission(json.dumps(document).encode(), SETTINGS)


def _growth(do: Callable[[], object], times: int) -> float:
    """Return by how many bytes memory grows each time that something is done."""
    for person in _PEOPLE:
        _read(person, [person])  # addresses themselves are remembered, and for good
    do()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(times):
            do()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (after - before) / times


def test_people_of_long_lists_are_not_remembered() -> None:
    assert _growth(lambda: _read(_PEOPLE[0], random.sample(_PEOPLE, 200)), 300) < 500


def test_people_with_long_addresses_are_not_remembered() -> None:
    long = [f"{person};x={'y' * 900}" for person in _PEOPLE[:20]]
    for person in long:
        _read(person, [person])

    def read() -> None:
        _read(random.choice(long), random.sample(long, 8))

    assert _growth(read, 300) < 500


def test_decisions_on_long_lists_are_not_remembered() -> None:
    decisions, policy = Decisions("pool1"), Policies(critical=True).current

    def decide() -> None:
        decision = decisions.decide(policy, _read(_PEOPLE[0], random.sample(_PEOPLE, 200)), CONNECTOR)
        assert decision.archive

    assert _growth(decide, 300) < 500
