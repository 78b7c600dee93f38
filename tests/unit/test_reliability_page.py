"""docs/reliability.md names the tests that prove it, and all of them are there."""

import re
from pathlib import Path

_TESTS = Path(__file__).parent.parent
_PAGE = _TESTS.parent / "docs" / "reliability.md"


def _tests_below(folder: Path) -> set[str]:
    return {
        name
        for path in folder.rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)
    }


def test_the_page_names_every_chaos_test_and_none_that_is_not_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", _PAGE.read_text()))
    assert named <= _tests_below(_TESTS)
    assert _tests_below(_TESTS / "chaos") <= named
