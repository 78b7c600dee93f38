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


def test_every_row_of_a_table_has_its_proof_below() -> None:
    sections = re.split(r"^## ", _PAGE.read_text(), flags=re.M)[1:]
    rows = {part.split("\n")[0]: re.findall(r"^\| (\d+) \| \S", part, re.M) for part in sections}
    proofs = {part.split("\n")[0]: re.findall(r"^(\d+)\. `test_", part, re.M) for part in sections}
    assert all(rows.values())
    assert rows == proofs


def test_a_row_can_be_read() -> None:
    assert max(len(line) for line in _PAGE.read_text().splitlines() if line.startswith("|")) <= 280
