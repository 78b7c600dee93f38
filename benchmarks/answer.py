"""A question's measurement: a table and a plot, kept as a file until the report is made."""

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

STATE = Path(__file__).parent.parent / ".state" / "bench"


def describe_machine() -> str:
    """Return the circumstances that the figures depend on."""
    cpu = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.machine(),
    )  # fmt: skip
    return f"{os.cpu_count()} cores ({cpu}), Python {platform.python_version()}, IMs of 400 characters"


@dataclass
class Answer:
    """A table of text, and bars of its most important column."""

    name: str
    question: str
    head: list[str]
    rows: list[list[str]] = field(default_factory=list)
    unit: str = ""
    """Of the bars."""
    bars: list[tuple[str, float]] = field(default_factory=list)
    machine: str = field(default_factory=describe_machine)
    measured: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%d}")

    def add(self, *cells: str, bar: float | None = None) -> None:
        """Add a line, shown as a bar too if it has a figure."""
        self.rows.append(list(cells))
        if bar is not None:
            self.bars.append((cells[0], bar))

    def table(self) -> str:
        """Return the table in Markdown: the first column is text, all others are figures."""
        lines = [self.head, ["---", *["---:"] * (len(self.head) - 1)], *self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def write(self) -> None:
        """Keep it for the report."""
        folder = STATE / "answers"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.json").write_text(json.dumps(asdict(self), ensure_ascii=False, indent=1))


def read_answers() -> dict[str, Answer]:
    """Return the kept answers, by name."""
    files = sorted((STATE / "answers").glob("*.json"))
    return {file.stem: Answer(**json.loads(file.read_text())) for file in files}
