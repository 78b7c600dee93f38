"""The form of all Markdown pages: one sentence a line, short lines, links that lead somewhere."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
_NOT_OURS = {"node_modules"}
_WIDTH = 120
_INLINE_CODE = re.compile(r"`[^`]*`")
_LIST_MARK = re.compile(r"^\s*(?:[-*]|\d+\.) ")
_RUN_IN = re.compile(r"\*\*.*?\*\*")
_SENTENCE_END = re.compile(r"(?<=[\w)`*\"])[.?!][)*\"]*\s+(?=[*(\"]*[A-Z])")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def find_pages() -> list[Path]:
    """Return all pages of the repository, but what tools put there."""
    folders = [each for each in ROOT.iterdir() if each.is_dir() and not each.name.startswith(".")]
    found = [*ROOT.glob("*.md"), *(page for folder in folders for page in folder.rglob("*.md"))]
    return sorted(page for page in found if not _NOT_OURS & set(page.parts))


PAGES = find_pages()
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a page with their numbers, but code and tables."""
    in_code = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.lstrip().startswith("```"):
            in_code = not in_code
        elif not in_code and not line.lstrip().startswith("|"):
            yield number, line


def is_table_row(line: str) -> bool:
    """Return True for a line of a table."""
    return line.lstrip().startswith("|")


@each_page
def test_no_line_but_a_tables_is_longer_than_120(page: Path) -> None:
    lines = enumerate(page.read_text().splitlines(), 1)
    assert [number for number, line in lines if len(line) > _WIDTH and not is_table_row(line)] == []


@each_page
def test_a_sentence_has_a_line_of_its_own(page: Path) -> None:
    texts = [
        (number, _RUN_IN.sub("B", _INLINE_CODE.sub("C", _LIST_MARK.sub("", line))))
        for number, line in prose(page)
    ]
    assert [(number, text) for number, text in texts if _SENTENCE_END.search(text)] == []


@each_page
def test_a_link_leads_to_a_file_or_a_heading_that_is_there(page: Path) -> None:
    text = "\n".join(_INLINE_CODE.sub("", line) for _, line in prose(page))
    text += "\n".join(filter(is_table_row, page.read_text().splitlines()))
    for link in _LINK.findall(text):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in headings(target), link


def headings(page: Path) -> set[str]:
    """Return what a link to a heading of a page may end with, as GitHub makes it."""
    found = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}
