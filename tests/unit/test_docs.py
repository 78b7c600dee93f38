"""The form of all Markdown pages: one sentence a line, short lines, links that lead somewhere."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.openapi import Document, admin_document, front_end_document

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


_DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
_HEAD = re.compile(
    r"# (?P<title>[A-Z].{20,}[^.])\n\n"
    r"- Status: (?P<status>accepted|superseded)\b(?:.|\n  )*\n"
    r"- Date: (?P<date>\d{4}-\d\d-\d\d)\n\n"
    r"## (?:Problem|Decision)\n"
)
_SECTIONS = re.compile(r"(?:Problem )?Decision Alternatives Price")


@pytest.mark.parametrize("page", _DECISIONS, ids=lambda page: page.stem)
def test_a_decision_has_a_status_a_date_alternatives_and_a_price(page: Path) -> None:
    text = page.read_text()
    assert _HEAD.match(text)
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    assert _SECTIONS.fullmatch(" ".join(parts[1::2]))
    assert all(part.strip() for part in parts[2::2])


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = [int(page.name[:4]) for page in _DECISIONS]
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_index_lists_every_page_and_every_decision_with_its_title_status_and_date() -> None:
    index = ROOT / "docs" / "README.md"
    text = index.read_text()
    listed = {(index.parent / link.partition("#")[0]).resolve() for link in _LINK.findall(text)}
    assert {page for page in PAGES if page != index} - listed == set()
    rows = {
        f"| [{page.name[:4]}](decisions/{page.name}) | {head['title']} | {head['status']} | {head['date']} |"
        for page in _DECISIONS
        if (head := _HEAD.match(page.read_text()))
    }
    assert len(rows) == len(_DECISIONS)
    assert rows - set(text.splitlines()) == set()


def test_the_readme_is_read_in_one_go() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 90


_MAPS = [ROOT / "docs" / "architecture.md", ROOT / "CONTRIBUTING.md"]
_SERVICES = sorted((ROOT / "services").glob("*/*/__init__.py"))
_FILE = re.compile(r"\w[\w./-]*\.(?:py|cfg|sql)\b")


def named_files(page: Path) -> set[str]:
    """Return the files that a page names, in pictures too."""
    return set(_FILE.findall(page.read_text()))


@pytest.mark.parametrize("page", _MAPS, ids=lambda page: page.stem)
def test_the_files_that_the_maps_name_are_there(page: Path) -> None:
    from_here = [ROOT, *(folder for package in _SERVICES for folder in package.parents[:2])]
    names = {path.name for package in _SERVICES for path in package.parent.rglob("*.py")}
    lost = {
        file
        for file in named_files(page)
        if file not in names and not any((folder / file).is_file() for folder in from_here)
    }
    assert lost == set()


@pytest.mark.parametrize("package", _SERVICES, ids=lambda package: package.parent.name)
def test_every_file_and_folder_of_a_service_has_its_row_in_the_architecture(package: Path) -> None:
    _, text = _MAPS[0].read_text().split(f"| in `{package.parent.relative_to(ROOT)}` |")
    rows = set(re.findall(r"^\| `([\w.]+)` \| \S", text.split("\n\n")[0], re.MULTILINE))
    there = {
        path.name
        for path in package.parent.iterdir()
        if path != package and (path.suffix == ".py" or any(path.glob("*.*")))
    }
    assert rows == there - {"__pycache__"}


def test_every_folder_of_the_repository_has_its_line_in_contributing() -> None:
    lines = set(re.findall(r"^([\w-]+)/ {2,}\S", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE))
    folders = {page.relative_to(ROOT).parts[0] for page in ROOT.glob("*/**/*.py")} | {"docs"}
    assert {each for each in folders if not each.startswith(".")} == lines


def test_the_changelog_has_what_was_added_changed_and_fixed_in_each_version() -> None:
    _, *versions = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert versions
    for version in versions:
        assert re.findall(r"^### (.+)$", version, re.MULTILINE) == ["Added", "Changed", "Fixed"]


def test_pictures_are_small_and_shown() -> None:
    pictures = set((ROOT / "docs" / "pictures").iterdir())
    shown = {(page.parent / link).resolve() for page in PAGES for link in _LINK.findall(page.read_text())}
    assert pictures <= shown
    assert max(picture.stat().st_size for picture in pictures) < 150_000


@pytest.mark.parametrize(
    ("service", "document"),
    [("admin-api", admin_document()), ("frontend", front_end_document())],
    ids=["admin API", "front end"],
)
def test_the_page_of_a_service_names_each_of_its_endpoints(service: str, document: Document) -> None:
    page = (ROOT / "services" / service / "README.md").read_text()
    names = {path.removeprefix("/v1/").partition("{")[0].rstrip("/") for path in document["paths"]}
    assert sorted(name for name in names - {"/healthz", "/readyz"} if name not in page) == []
