"""The benchmarks' report puts what was measured in its place, and leaves the rest of the page alone."""

import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import benchmarks
from benchmarks.answer import Answer

_PACKAGE = Path(benchmarks.__file__).parent


def make_report(root: Path) -> None:
    """As ``make bench-report`` does, in a process of its own: pygal's import hook would end pytest's."""
    subprocess.run([sys.executable, "-m", "benchmarks.report"], cwd=root, check=True)


def test_the_report_fills_its_places_and_keeps_what_was_not_measured(tmp_path: Path) -> None:
    shutil.copytree(_PACKAGE, tmp_path / "benchmarks")
    page = tmp_path / "docs" / "performance.md"
    page.parent.mkdir()
    page.write_text(
        "# Before\n<!-- drain -->\nold\n<!-- end -->\n<!-- accept -->\nkept\n<!-- end -->\nAfter\n"
    )
    measured = Answer("drain", "How fast?", ["what", "figure"], unit="IMs/s")
    measured.add("worker", "7/s", bar=7)
    answers = tmp_path / ".state" / "bench" / "answers"
    answers.mkdir(parents=True)
    (answers / "drain.json").write_text(json.dumps(asdict(measured)))
    make_report(tmp_path)
    text = page.read_text()
    assert "| what | figure |\n| --- | ---: |\n| worker | 7/s |" in text
    assert "old" not in text
    assert "<!-- accept -->\nkept\n<!-- end -->\nAfter" in text
    assert "worker" in (page.parent / "performance" / "drain.svg").read_text()
    make_report(tmp_path)
    assert page.read_text() == text
