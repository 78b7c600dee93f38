"""Agents that ended, and which archive was told: one that is restored from a backup is told again."""

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
"""So old a backup may be whose archive is told all of it."""


class ToldAgent(msgspec.Struct, frozen=True, array_like=True):
    """How far an agent had got when it ended, as an archive was told."""

    agent: UUID
    confirmed: int
    incarnation: str
    """The archive's; empty: an admin API of before did not say."""
    at: int
    """When it was told first: seconds since the epoch."""


class Told:
    """What a front end keeps of agents that ended; on disk, once it has a folder."""

    def __init__(self) -> None:
        """There are none, and nobody has said which archive it is."""
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
        """Keep what another front end left as well; return whether that is on disk."""
        self._agents = {each.agent: each for each in agents} | self._agents
        return self._save()

    def note(self, agents: dict[UUID, int], incarnation: str) -> None:
        """The archive of this incarnation (empty: nobody knows) was told that these ended."""
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
        """Return those that the archive of now was not told of, and how far each got."""
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
    """Return those that a front end left in its folder; what can't be read is said in the log."""
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
