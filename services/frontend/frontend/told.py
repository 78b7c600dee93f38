"""Agents that ended, and the archive that was told: one that is restored from a backup is told again."""

import logging
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

log = logging.getLogger("frontend")

TOLD_FILE: Final = "told"
_MOST: Final = 10_000
_KEPT_SECONDS: Final = 31 * 86_400
"""An archive restored from a backup of this age, at most, is told of all of them."""


class ToldAgent(msgspec.Struct, frozen=True, array_like=True):
    """How far an agent had got when it ended, as an archive was told."""

    agent: UUID
    confirmed: int
    incarnation: str
    """The archive's; empty if the admin API is of an earlier version."""
    at: int
    """When an archive was told first: seconds since the epoch."""


class Told:
    """The agents that ended, as a front end keeps them; on disk, once it has a folder."""

    def __init__(self) -> None:
        """There are none, and the archive's incarnation is not known."""
        self._agents: dict[UUID, ToldAgent] = {}
        self._incarnation = ""
        self._folder: Path | None = None

    def __len__(self) -> int:
        return len(self._agents)

    def keep_in(self, folder: Path) -> None:
        """Keep them in a folder from now on, with those that another process left there."""
        self._folder = folder
        told = read_told(folder)
        if told or self._agents:
            self.add(told)

    def add(self, agents: Iterable[ToldAgent]) -> bool:
        """Keep another front end's agents as well; return True once they are on disk."""
        self._agents = {each.agent: each for each in agents} | self._agents
        return self._save()

    def note(self, agents: dict[UUID, int], incarnation: str) -> None:
        """Note that these ended, as the archive of this incarnation was told; empty: it is not known."""
        self._incarnation = incarnation or self._incarnation
        if not agents:
            return
        now = int(time.time())
        for agent, confirmed in agents.items():
            known = self._agents.get(agent)
            at = now if known is None else known.at
            self._agents[agent] = ToldAgent(agent, confirmed, incarnation, at)
        self._save()

    def of_another(self) -> Iterator[tuple[UUID, int]]:
        """Return the agents of which the present archive was not told, and how far each got."""
        for each in self._agents.values():
            if self._incarnation and each.incarnation != self._incarnation:
                yield each.agent, each.confirmed

    def _save(self) -> bool:
        oldest = time.time() - _KEPT_SECONDS
        kept = sorted((each for each in self._agents.values() if each.at >= oldest), key=lambda each: each.at)
        self._agents = {each.agent: each for each in kept[-_MOST:]}
        if self._folder is None:
            return False
        path = self._folder / TOLD_FILE
        fresh = path.with_suffix(".new")
        try:
            fresh.write_bytes(b"".join(map(_line_of, self._agents.values())))
            fresh.replace(path)
        except OSError as error:  # they are in memory, and the archive knows them unless it is restored
            log.error("agents that ended can't be kept on disk", extra={"error": str(error)})
            return False
        return True


def _line_of(agent: ToldAgent) -> bytes:
    record = msgspec.json.encode(agent)
    return b"%08x %s\n" % (zlib.crc32(record), record)


def read_told(folder: Path) -> list[ToldAgent]:
    """Return the agents in a front end's folder; log lines that can't be read."""
    path = folder / TOLD_FILE
    try:
        lines = path.read_bytes().splitlines() if path.is_file() else []  # to open a pipe would take for ever
    except OSError as error:
        log.error("agents that ended can't be read", extra={"error": str(error)})
        return []
    told = []
    for line in lines:
        check, _, record = line.partition(b" ")
        try:
            if check != b"%08x" % zlib.crc32(record):
                raise ValueError("its checksum is another")
            told.append(msgspec.json.decode(record, type=ToldAgent))
        except ValueError as error:  # a decoding error is one
            log.warning("the record of an agent that ended can't be read", extra={"error": str(error)})
    return told
