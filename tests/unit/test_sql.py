"""SQL as it is now names its columns; functions and views stand in ``schema/*.sql`` alone."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_RELEASED = {"archiving": 27, "admin-api": 16}
"""Migrations up to these are released, and stay as they are: they make functions and views too."""
_MIGRATIONS = sorted(_ROOT.glob("services/*/*/migrations/versions/*.*"))
_DEFINITIONS = sorted(_ROOT.glob("services/*/*/schema/*.sql"))
_SHORTCUTS = {
    "a star": re.compile(r"(?<!\()\*(?=\s*(,|\)|;|$|FROM\b|INTO\b))"),
    "INSERT without columns": re.compile(
        r"\bINSERT\s+INTO\s+[^\s(]+(?!\S)(?!(\s+AS\s+\w+)?\s*(\(|DEFAULT VALUES))"
    ),
    "COPY without columns": re.compile(r"\bCOPY\s+\S+\s+(FROM|TO)\b"),
}
_DEFINES = r"^ *CREATE (OR REPLACE )?(FUNCTION|PROCEDURE|AGGREGATE|TRIGGER|(MATERIALIZED )?VIEW|RULE)\b"


def test_every_statement_names_its_columns() -> None:
    statements = list(_statements())
    assert len(statements) > 300
    found = [
        f"{place}: {kind}: {' '.join(text.split())[:200]}"
        for place, text in statements
        for kind, shortcut in _SHORTCUTS.items()
        if shortcut.search(text)
    ]
    assert found == []


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM messages",
        "SELECT DISTINCT ON (n.seq) n.*, p.state FROM parked_numbers AS n",
        "DELETE FROM activities AS x RETURNING x.*",
        "INSERT INTO messages SELECT b.id FROM batch AS b",
        "INSERT INTO messages VALUES (1)",
        "INSERT INTO messages AS m VALUES (1)",
        "INSERT INTO messages\n    SELECT id FROM batch",
        "COPY archive.messages FROM STDIN (FORMAT BINARY)",
    ],
)
def test_a_statement_that_goes_by_places_is_seen(statement: str) -> None:
    assert any(shortcut.search(statement) for shortcut in _SHORTCUTS.values())


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT count(*) FROM messages",
        "SELECT interval '10 seconds' * 2 FROM messages",
        "INSERT INTO messages AS m (id) VALUES (1)",
        "INSERT INTO messages\n    (id, seq)\nSELECT id, seq FROM batch",
        "INSERT INTO incarnation DEFAULT VALUES",
        "COPY archive.messages (id) FROM STDIN (FORMAT BINARY)",
    ],
)
def test_a_statement_that_goes_by_names_is_let_pass(statement: str) -> None:
    assert not any(shortcut.search(statement) for shortcut in _SHORTCUTS.values())


def test_migrations_make_no_functions_and_no_views_any_more() -> None:
    assert len(_MIGRATIONS) > sum(_RELEASED.values())
    defining = [path.name for path in _MIGRATIONS if re.search(_DEFINES, path.read_text(), re.MULTILINE)]
    assert len(defining) > 20
    assert [path.name for path in _unreleased() if path.name in defining] == []


@pytest.mark.parametrize("path", _DEFINITIONS, ids=lambda path: path.name)
def test_a_definition_has_its_promise_above_and_its_rights_below(path: Path) -> None:
    text = path.read_text()
    bare = re.findall(r"^(?!--).*\n(CREATE OR REPLACE .*)", text, re.MULTILINE)
    assert bare == []
    functions = re.findall(r"^CREATE OR REPLACE (?:FUNCTION|AGGREGATE) ([\w.]+)", text, re.MULTILINE)
    assert re.findall(r"^REVOKE ALL ON FUNCTION ([\w.]+).* FROM PUBLIC;", text, re.MULTILINE) == functions


def _statements() -> Iterator[tuple[str, str]]:
    """Yield what SQL there is now, with its place: of Python, strings that look like it."""
    unreleased = _unreleased()
    for path in [*_DEFINITIONS, *unreleased, *_ROOT.glob("deploy/**/*.sql")]:
        if path.suffix == ".sql":
            for statement in re.sub("--.*", "", path.read_text()).split(";"):
                yield path.name, statement
    for folder in ("contract", "runtime", "services", "deploy", "benchmarks"):
        for path in sorted((_ROOT / folder).rglob("*.py")):
            if path not in _MIGRATIONS or path in unreleased:
                for line, text in _strings(ast.parse(path.read_text())):
                    if re.search(r"\b(SELECT|INSERT\s+INTO|RETURNING|COPY)\b", text):
                        yield f"{path.relative_to(_ROOT)}:{line}", text


def _strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield strings with their lines; what an f-string puts in is ``{}``."""
    inner: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inner.update(node.values)
            yield (
                node.lineno,
                "".join(
                    part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else "{}"
                    for part in node.values
                ),
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inner:
            yield node.lineno, node.value


def _unreleased() -> list[Path]:
    return [
        path
        for path in _MIGRATIONS
        if path.name[:4].isdecimal() and int(path.name[:4]) > _RELEASED[path.relative_to(_ROOT).parts[1]]
    ]
