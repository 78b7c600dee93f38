"""The lines of the comparison: as data for other programs, as a Markdown table for people."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.answer import describe_machine
from benchmarks.peers.peer import DRAIN_GROUPS, DRAIN_SINGLES, Peer, Result


@dataclass(frozen=True)
class Line:
    """A peer with its figures, or with the reason why it has none."""

    peer: Peer
    version: str
    result: Result | None
    reason: str = ""
    rates: list[float] = field(default_factory=list)
    """IM/s of every run, of which the result is the median."""


def _compare(line: Line, rates: dict[str, float]) -> str:
    """Return how many times as fast LCS Archive is at the same work."""
    own = rates.get(line.peer.beside)
    if line.result is None or own is None or line.peer.beside == line.peer.name:
        return ""
    text = f"{own / line.result.rate:.1f} ×"  # noqa: RUF001 - a multiplication sign is meant
    grouped = rates.get(DRAIN_GROUPS)
    if line.peer.beside == DRAIN_SINGLES and grouped is not None:
        text += f" ({grouped / line.result.rate:.1f} × with 250 IMs a message)"  # noqa: RUF001
    return text


def make_table(lines: list[Line]) -> str:
    """Return a Markdown table."""
    rates = {line.peer.name: line.result.rate for line in lines if line.result is not None}
    table = [
        "| peer | version | what is measured | IM/s | CPU s per 100,000 IMs | LCS Archive is … as fast |",
        "| --- | --- | --- | ---: | ---: | ---: |",
    ]
    for line in lines:
        start = f"| {line.peer.name} | {line.version} | {line.peer.measured} |"
        if line.result is None:
            table.append(f"{start} {line.reason} | | |")
        else:
            cpu = line.result.cpu_seconds / line.result.ims * 100_000
            table.append(f"{start} {line.result.rate:,.0f} | {cpu:,.1f} | {_compare(line, rates)} |")
    return "\n".join(table)


def write_results(lines: list[Line], path: Path) -> None:
    """Write plain data: one document with a list of results."""
    document = {
        "machine": describe_machine(),
        "measured": f"{datetime.now(UTC):%Y-%m-%d}",
        "results": [
            {
                "peer": line.peer.name,
                "version": line.version,
                "measured": line.peer.measured,
                "beside": line.peer.beside,
                "ims": line.result.ims if line.result else None,
                "seconds": round(line.result.seconds, 3) if line.result else None,
                "cpu_seconds": round(line.result.cpu_seconds, 2) if line.result else None,
                "rates": [round(rate, 1) for rate in line.rates],
                "cpu": {part: round(seconds, 2) for part, seconds in line.result.cpu.items()}
                if line.result
                else None,
                "reason": line.reason or None,
            }
            for line in lines
        ],
    }
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
