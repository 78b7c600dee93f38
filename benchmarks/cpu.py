"""CPU time of trees of processes, from /proc."""

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def _read_processes() -> dict[int, tuple[int, float]]:
    """Return parent and CPU seconds of every process, with those of its children that have ended."""
    processes = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                # The name in parentheses may hold anything: fields are counted from its end (proc(5)).
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            processes[int(folder.name)] = int(fields[1]), sum(map(int, fields[11:15])) / _TICKS
    return processes


class Meter:
    """CPU time used by some parts since a start; a part is a process with all below it."""

    def __init__(self, parts: Mapping[str, int]) -> None:
        """``parts`` names the process at the root of each; the time begins now."""
        self._parts = dict(parts)
        self._before = self._read()

    def _read(self) -> dict[str, float]:
        processes = _read_processes()
        children = defaultdict(list)
        for pid, (parent, _) in processes.items():
            children[parent].append(pid)

        def total(pid: int) -> float:
            return processes[pid][1] + sum(total(child) for child in children[pid])

        return {part: total(pid) for part, pid in self._parts.items()}

    def stop(self) -> dict[str, float]:
        """Return the CPU seconds of each part since the start. Raises KeyError if one has ended."""
        return {part: seconds - self._before[part] for part, seconds in self._read().items()}
