"""The form of docstrings: a subject with a name, not a pronoun that a reader must resolve."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
TREES = ("contract", "runtime", "services", "deploy", "benchmarks")
_PRONOUN = re.compile(r"\b(what|who|whom|whose|nobody|whatever|whoever)\b", re.IGNORECASE)
_OPENING = re.compile(r"(whether|what|who|whom|that|nobody|whatever|whoever)\b", re.IGNORECASE)


def docstrings_of(source: str) -> Iterator[str]:
    """Yield the docstrings of modules, classes, functions, and of attributes: texts below an assignment."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for part in node.body:
            if isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant):
                text = part.value.value
                if isinstance(text, str):
                    yield text


def product_docstrings() -> list[tuple[Path, str]]:
    """Return each docstring of the product with its file; released migrations stay as they are."""
    files = (path for tree in TREES for path in sorted((ROOT / tree).rglob("*.py")))
    ours = (path for path in files if path.parent.name != "versions")
    return [(path, text) for path in ours for text in docstrings_of(path.read_text())]


def test_few_docstrings_hang_on_a_pronoun() -> None:
    found = product_docstrings()
    hanging = [(str(path.relative_to(ROOT)), text) for path, text in found if _PRONOUN.search(text)]
    assert len(hanging) < 0.05 * len(found), hanging


def test_no_docstring_begins_with_a_pronoun() -> None:
    found = product_docstrings()
    assert [(path, text) for path, text in found if _OPENING.match(text.lstrip())] == []


@pytest.mark.parametrize(
    "source",
    [
        '"""What came."""',
        'class A:\n    """Who said it."""',
        'class A:\n    x: int\n    """Whom it concerns."""',
        'def f():\n    """Nobody waits."""',
        'async def f():\n    """Whatever came."""',
    ],
)
def test_docstrings_are_found_wherever_they_stand(source: str) -> None:
    (text,) = docstrings_of(source)
    assert _PRONOUN.search(text) and _OPENING.match(text)
