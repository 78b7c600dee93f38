"""The file of agents: how far each got, while its last number is not on the queue and with the admin API."""

import contextlib
import logging
import os
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from uuid import UUID

from contract.message import MAX_SEQ

log = logging.getLogger("frontend")

AGENTS_FILE: Final = "agents"
_LINE: Final = "{} {:020d}\n"
_AGENT: Final = re.compile(r"([0-9a-f-]{36}) (\d{20})", re.ASCII)
_CHECK: Final = "- {:08x}"
"""The line behind an agent's: its checksum. A front end of before takes it for one that can't be read."""


class AgentsFile:
    """The file of the front end that numbers; nothing is written before it has a folder."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._descriptor = -1
        self.trouble = "there is no folder for agents' numbers"
        """Why numbers aren't kept on disk; empty while they are."""

    def keep_in(self, folder: Path) -> None:
        """Write to a folder from the next ``write`` on."""
        self._path = folder / AGENTS_FILE

    def write(self, agents: Mapping[UUID, int]) -> bool:
        """Write the file anew, in lines of fixed length; return True if it is on disk."""
        if self._path is None:
            return False
        fresh = self._path.with_suffix(".new")
        try:
            fresh.write_text("".join(_lines_of(agent, confirmed) for agent, confirmed in agents.items()))
            fresh.replace(self._path)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:  # what the old file lacks is known in memory, and will be published
            self._note_error(error)
            return False
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = descriptor
        self._note_error(None)
        return True

    def write_first(self, agent: UUID, confirmed: int) -> bool:
        """Write over the first agent's lines; return False if there is no file to write to.

        No fsync: after a power cut the numbers on the queue must do.
        """
        if self._descriptor < 0:
            return False
        try:
            os.pwrite(self._descriptor, _lines_of(agent, confirmed).encode(), 0)
            self._note_error(None)
        except OSError as error:
            self._note_error(error)
        return True

    def remove(self) -> None:
        """Remove the file; if that fails, the next process publishes its statements once more."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _note_error(self, error: OSError | None) -> None:
        """Log once that the disk fails. The front end goes on: IMs on the queue are safe without it."""
        if error is not None and not self.trouble:
            log.error("agents' numbers can't be kept on disk", extra={"error": str(error)})
        self.trouble = f"agents' numbers can't be kept: {error}" if error is not None else ""


def _lines_of(agent: UUID, confirmed: int) -> str:
    line = _LINE.format(agent, confirmed)
    return f"{line}{_CHECK.format(zlib.crc32(line.encode()))}\n"


def read_agents(folder: Path) -> dict[UUID, int]:
    """Return the agents that a front end left in its folder, and how far each got. Raises OSError."""
    path = folder / AGENTS_FILE
    if not path.exists():
        return {}
    if not path.is_file():  # to open a pipe would take for ever
        raise OSError(f"{path} is no file")
    agents: dict[UUID, int] = {}
    lines = path.read_text(errors="replace").splitlines()
    for line, check in zip(lines, [*lines[1:], ""], strict=False):
        known = _AGENT.fullmatch(line)
        if known is None:
            if line[:1] != _CHECK[0]:  # cut by a power failure, or damaged: those IMs' own numbers must do
                log.warning("an agent's record can't be read", extra={"line": line[:80]})
        elif check[:1] == _CHECK[0] and check != _CHECK.format(zlib.crc32(f"{line}\n".encode())):
            log.warning("an agent's record is damaged", extra={"line": line[:80]})
        else:
            with contextlib.suppress(ValueError):
                agents[UUID(known[1])] = int(known[2])
    # A line of before has no checksum; a number that no agent reaches would be refused, with all others told.
    return {agent: confirmed for agent, confirmed in agents.items() if 0 < confirmed <= MAX_SEQ}


def forget_agents(folder: Path) -> None:
    """Remove the record of agents that another front end has adopted."""
    (folder / AGENTS_FILE).unlink(missing_ok=True)
