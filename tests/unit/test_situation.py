"""Where IMs go and which state is shown, for every combination of facts, by tables read from the top."""

from itertools import product
from typing import Final

import msgspec
import pytest

from frontend.situation import NEARLY_EMPTY, Situation

FACTS: Final = {
    "critical": (False, True),
    "broker_trouble": ("", "no broker"),
    "spool_trouble": ("", "disk full"),
    "spool_stuck": ("", "unreadable"),
    "spooled": (0, 1, NEARLY_EMPTY, NEARLY_EMPTY + 1),
    "writing": (False, True),
    "left": ("", "slot 2"),
}
SITUATIONS: Final = [
    msgspec.convert(dict(zip(FACTS, facts, strict=True)), Situation) for facts in product(*FACTS.values())
]

Row = tuple[str, object]
"""Letters of facts that must all hold, and what follows then."""
ROUTES: Final[list[Row]] = [
    ("C", "publish"),  # it may be spooled nowhere
    ("B", "spool"),  # no IM waits for a broker that is away
    ("T", "publish"),  # the spool takes none
    ("S", "publish"),  # the spool sends none: behind it an IM would wait for good
    ("L", "spool"),  # a long spool goes first
    ("", "publish"),
]
FALLBACKS: Final[list[Row]] = [("C", "refuse"), ("", "spool")]
QUEUE_HELD: Final[list[Row]] = [
    ("C", False),
    ("T", False),
    ("S", False),
    ("I", True),  # spooled IMs came first
    ("W", True),  # those on their way to disk as well
    ("", False),
]
AT_LEISURE: Final[list[Row]] = [("B", False), ("I", False), ("", True)]
STATES: Final[list[Row]] = [
    ("BC", ("blocking", "no broker")),
    ("BT", ("blocking", "disk full")),
    ("B", ("spooling", "no broker")),
    ("IS", ("spooling", "unreadable")),
    ("I", ("spooling", "the broker is back: the spool is being sent")),
    ("O", ("spooling", "slot 2")),
    ("", ("normal", "the broker confirms")),
]


def letters_of(situation: Situation) -> str:
    """Return the letters of the facts that hold."""
    holds = {
        "C": situation.critical,
        "B": bool(situation.broker_trouble),
        "T": bool(situation.spool_trouble),
        "S": bool(situation.spool_stuck),
        "I": situation.spooled > 0,
        "L": situation.spooled > NEARLY_EMPTY,
        "W": situation.writing,
        "O": bool(situation.left),
    }
    return "".join(letter for letter, it_holds in holds.items() if it_holds)


def look_up(table: list[Row], letters: str) -> object:
    """Return what follows in the first row whose letters all hold."""
    return next(follows for needed, follows in table if set(needed) <= set(letters))


def test_the_facts_of_the_tables_are_all_facts_of_a_situation() -> None:
    assert tuple(FACTS) == Situation.__struct_fields__
    assert len(set(SITUATIONS)) == 256


@pytest.mark.parametrize(
    ("conclusion", "table"),
    [
        ("route", ROUTES),
        ("fallback", FALLBACKS),
        ("holds_queue", QUEUE_HELD),
        ("is_at_leisure", AT_LEISURE),
        ("state", STATES),
    ],
)
def test_every_situation_leads_where_its_table_says(conclusion: str, table: list[Row]) -> None:
    for situation in SITUATIONS:
        expected = look_up(table, letters_of(situation))
        assert getattr(situation, conclusion) == expected, situation


def test_each_row_of_the_tables_decides_some_situation() -> None:
    for table in (ROUTES, FALLBACKS, QUEUE_HELD, AT_LEISURE, STATES):
        rest = list(map(letters_of, SITUATIONS))
        for needed, _ in table:
            decided = [letters for letters in rest if set(needed) <= set(letters)]
            assert decided, needed
            rest = [letters for letters in rest if letters not in decided]
        assert not rest
