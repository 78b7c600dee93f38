"""Archiving agents' numbers: an IM's number is used up by the broker's confirm, so a hole is always a loss.

An agent ends when its process does, or when nobody knows what became of a publish; then the next begins at 1.
How far an agent got is said on the queue and, as a queue may be lost with all that was on it, told to the
admin API. What could not be said or told yet, by this process or by one that was killed, stands in a file
until it is; what was told, in another: an archive that is restored is told again.
"""

import asyncio
import contextlib
import logging
import os
import re
import time
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import chain, islice
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

import msgspec
from aio_pika.abc import HeadersType

from contract.message import (
    AGENT_TYPE,
    CONFIRMED_HEADER,
    IM,
    IM_TYPE,
    MAX_SEQ,
    PEOPLE_HEADER,
    PUBLISHED_HEADER,
    AgentStatement,
    encode_ims,
    encode_statement,
    headers_of,
)
from contract.policy import Decision
from frontend.config import FrontEndSettings
from frontend.im import CheckedIM
from frontend.metrics import CONFIRM_SECONDS, CONFIRMED, PUBLISH_SIZE
from frontend.publisher import Publisher, RefusedError, UnknownError
from frontend.told import Told

if TYPE_CHECKING:  # OpenTelemetry is loaded only where it is used
    from frontend.spans import Tracing

log = logging.getLogger("frontend")

_MOST_TOLD: Final = 100
"""Agents that one check-in tells of, beside the one that numbers."""
AGENTS_FILE: Final = "agents"
_LINE: Final = "{} {:020d}\n"
_AGENT: Final = re.compile(r"([0-9a-f-]{36}) (\d{20})", re.ASCII)
_CHECK: Final = "- {:08x}"
"""The line behind an agent's: its checksum. A front end of before takes it for one that can't be read."""

_SELDOM: Final = tuple(
    field.name
    for field in msgspec.structs.fields(IM)
    if not field.required and field.name in CheckedIM.__struct_fields__ and field.name != "received_at"
)
"""Fields that few IMs have. A field that is new on the wire has a default, so it is one of these."""
_seldom_of: Final[Callable[[CheckedIM], tuple[object, ...]]] = attrgetter(*_SELDOM)
_DEFAULTS: Final = tuple(field.default for field in msgspec.structs.fields(IM) if field.name in _SELDOM)


class AgentNumbers(msgspec.Struct, frozen=True):
    """How far an agent got, as the admin API is told."""

    agent: UUID
    confirmed: int
    ended: bool


class Numbering:
    """The agent that numbers now, and those of which the queue doesn't know yet how far they got."""

    def __init__(
        self,
        settings: FrontEndSettings,
        publisher: Publisher,
        folder: Path | None,
        tracing: "Tracing | None",
    ) -> None:
        """``folder`` keeps the file; see ``keep_in``."""
        self._settings = settings
        self._tracing = tracing
        self._publisher = publisher
        self._path: Path | None = None
        self.id = uuid4()
        self.confirmed = 0
        """The number of the last IM that the broker has confirmed."""
        self.trouble = ""
        """Why the broker took nothing last time, though it was connected; empty when it took it."""
        self.turn = asyncio.Lock()
        """Held by whoever publishes: one AMQP message at a time is on its way to its confirm."""
        self._confirmed_at: datetime | None = None
        self._stated = 0
        self._ended: dict[UUID, int] = {}
        self._uncounted: dict[UUID, list[tuple[int, int]]] = {}
        """Ranges of agents' numbers whose confirm came too late, or got lost, not said yet."""
        self.owes = False
        """Return if there are such, and confirms come in time again: it is to be said."""
        self._untold: dict[UUID, int] = {}
        self.told = Told()
        """Agents that ended, to tell of again should the archive be another."""
        self._over = False
        self._descriptor = -1
        self.disk_trouble = "there is no folder for agents' numbers"
        """Why numbers aren't kept on disk; empty while they are."""
        if folder is not None:
            self.keep_in(folder)

    def keep_in(self, folder: Path) -> None:
        """Keep the file in a folder from now on: what another process left there is said next."""
        try:
            left = read_agents(folder)
        except OSError as error:
            log.error("how far agents got can't be read", extra={"error": str(error)})
        else:
            left.pop(self.id, None)
            self._note_ended(left)
        self.told.keep_in(folder)
        self._path = folder / AGENTS_FILE
        self._save()

    async def publish(self, ims: Sequence[tuple[CheckedIM, Decision]]) -> None:
        """Put IMs on the queue in one AMQP message, with the next numbers; the caller holds ``turn``.

        Raises RefusedError: they are not on the queue, and the numbers are free again. UnknownError: nobody
        knows, and a new agent begins.
        """
        try:
            if self._ended and not await self._say_ended():
                raise RefusedError("it does not take the statements that come first")
            await self._publish(ims)
        except (RefusedError, UnknownError) as error:
            log.warning("not confirmed by the broker", extra={"ims": len(ims), "error": str(error)[:200]})
            raise

    async def _publish(self, ims: Sequence[tuple[CheckedIM, Decision]]) -> None:
        numbered = [
            self._number(im, decision, seq) for seq, (im, decision) in enumerate(ims, self.confirmed + 1)
        ]
        headers: HeadersType = {
            **headers_of(numbered),
            PEOPLE_HEADER: sum([len(im.recipients) for im in numbered]),
            PUBLISHED_HEADER: time.time_ns() // 1000,
        }
        if self._confirmed_at is not None:
            headers[CONFIRMED_HEADER] = int(self._confirmed_at.timestamp() * 1e6)
        if self._tracing is not None:
            headers |= self._tracing.publish(numbered)
        started = time.monotonic()
        confirmed = False
        try:
            await self._put(encode_ims(numbered), headers, IM_TYPE, str(numbered[0].id))
            confirmed = True
        except UnknownError:
            self._disown(self.confirmed + 1, self.confirmed + len(numbered))
            self._begin_anew()
            raise
        finally:
            if self._tracing is not None:
                self._tracing.end_publish(numbered, confirmed=confirmed)
        self.confirmed += len(numbered)
        self._confirmed_at = datetime.now(UTC)
        self._keep_number()
        log.debug(
            "confirmed",
            extra={"im": numbered[0].id, "ims": len(numbered), "agent": self.id, "seq": numbered[0].seq},
        )
        CONFIRMED.inc(len(numbered))
        PUBLISH_SIZE.observe(len(numbered))
        CONFIRM_SECONDS.observe(time.monotonic() - started)

    def note_late(self, late: Sequence[bool]) -> None:
        """Note of each IM of the last publish whether it was answered before the confirm came.

        It counts under another number then, or not at all.
        """
        for number, answered in enumerate(late, self.confirmed - len(late) + 1):
            if answered:
                self._disown(number, number)
        self.owes = bool(self._uncounted) and not any(late)

    def _disown(self, first: int, last: int) -> None:
        """Have it said that what the archive gets under some numbers was not accepted under them."""
        ranges = self._uncounted.setdefault(self.id, [])
        begun = ranges.pop()[0] if ranges and ranges[-1][1] == first - 1 else first
        ranges.append((begun, last))

    async def _put(self, body: bytes, headers: HeadersType, type_: str, message_id: str) -> None:
        seconds = self._settings.deadline_seconds
        try:
            await self._publisher.publish(body, headers, type_, message_id, seconds=seconds)
        except (RefusedError, UnknownError) as error:
            self.trouble = error.why
            raise
        self.trouble = ""

    def _keep_number(self) -> None:
        """Note how far this agent got; no fsync: after a power cut the numbers on the queue must do."""
        if self._descriptor < 0:
            self._save()
            return
        try:
            os.pwrite(self._descriptor, _lines_of(self.id, self.confirmed).encode(), 0)
            self._note_disk(None)
        except OSError as error:
            self._note_disk(error)

    def _note_disk(self, error: OSError | None) -> None:
        """Say once that the disk fails. The front end goes on: what is on the queue is safe without it."""
        if error is not None and not self.disk_trouble:
            log.error("agents' numbers can't be kept on disk", extra={"error": str(error)})
        self.disk_trouble = f"agents' numbers can't be kept: {error}" if error is not None else ""

    def _number(self, im: CheckedIM, decision: Decision, seq: int) -> IM:
        numbered = IM(
            id=im.id,
            sent_at=im.sent_at,
            sender=im.sender,
            recipients=im.recipients,
            conversation=im.conversation,
            scope=decision.scope,
            content_type=im.content_type,
            encoding=im.encoding,
            body=im.body,
            pool=self._settings.pool,
            agent=self.id,
            seq=seq,
            policy_version=decision.version,
            rule=decision.rule,
            received_at=im.received_at,
        )  # with more than 15 keywords CPython makes a dict of them first: a call four times as slow
        if (seldom := _seldom_of(im)) != _DEFAULTS:
            return msgspec.structs.replace(numbered, **dict(zip(_SELDOM, seldom, strict=True)))
        return numbered

    def _begin_anew(self) -> None:
        log.info("new agent", extra={"ended": str(self.id), "confirmed": self.confirmed})
        if self.confirmed:
            self._note_ended({self.id: self.confirmed})
        else:  # for the archive alone: what comes of that publish after all is no IM more
            self._ended[self.id] = 0
        self.id, self.confirmed, self._stated = uuid4(), 0, 0
        self._confirmed_at = None
        self._save()

    def adopt(self, agents: dict[UUID, int]) -> bool:
        """Say of another front end's agents, which can't any more, how far they got; return whether that is
        noted on disk."""
        self._note_ended(agents)
        return not agents or self._save()

    def _note_ended(self, agents: dict[UUID, int]) -> None:
        self._ended |= agents
        if self._settings.admin_api_url is not None:
            self._untold |= agents

    def numbers(self) -> list[AgentNumbers]:
        """Return what the admin API is to be told, this agent first."""
        current = [AgentNumbers(self.id, self.confirmed, self._over)] if self.confirmed else []
        ended = islice(chain(self._untold.items(), self.told.of_another()), _MOST_TOLD)
        return current + [AgentNumbers(*each, True) for each in ended]

    def note_told(self, numbers: Sequence[AgentNumbers], incarnation: str) -> None:
        """The admin API has noted these, in the archive of this incarnation; empty: it did not say."""
        told = {each.agent: each.confirmed for each in numbers if each.ended}
        self.told.note(told, incarnation)  # before the other file loses them
        for agent in told:
            self._untold.pop(agent, None)
        if told:
            self._tidy(told=self.id in told)

    def _tidy(self, *, told: bool) -> None:
        """Write the file anew or, when this agent is over and nobody needs it, take it away."""
        if not self._over or not told or self._ended or self._untold:
            self._save()
        elif self._path is not None:
            with contextlib.suppress(OSError):  # then the next process says it once more
                self._path.unlink(missing_ok=True)

    async def say(self) -> None:
        """Say on the queue how far the agents got that ended and, if it is news, this one.

        In trouble it is a trial too: else nobody would see that the broker takes IMs again.
        """
        async with self.turn:
            if self._ended and not await self._say_ended():
                return
            confirmed = self.confirmed
            if (confirmed > self._stated or self.trouble) and await self._say(self.id, confirmed):
                self._stated = confirmed

    async def end(self) -> None:
        """Say how far agents got, once it is known what became of the last publish: there is no more."""
        await self.turn.acquire()  # for good
        if self._ended and not await self._say_ended():
            return
        if await self._say(self.id, self.confirmed, ended=True):
            self._over = True
            self._tidy(told=self._settings.admin_api_url is None or not self.confirmed)

    async def _say_ended(self) -> bool:
        for agent, confirmed in list(self._ended.items()):
            if not await self._say(agent, confirmed, ended=True):
                return False
            del self._ended[agent]
        self._save()
        return True

    async def _say(self, agent: UUID, confirmed: int, *, ended: bool = False) -> bool:
        """Put a statement on the queue; if that fails, it is said later, or the IMs' own numbers must do."""
        statement = AgentStatement(
            agent=agent,
            pool=self._settings.pool,
            front_end=self._settings.front_end,
            confirmed=confirmed,
            ended=ended,
            at=datetime.now(UTC),
            confirmed_at=self._confirmed_at if agent == self.id else None,
            uncounted=tuple(self._uncounted.get(agent, ())),
        )
        try:
            await self._put(encode_statement(statement), {}, AGENT_TYPE, f"{agent}-{confirmed}")
        except (RefusedError, UnknownError) as error:
            log.warning("an agent's statement was not confirmed", extra={"error": str(error)[:200]})
            return False
        self._uncounted.pop(agent, None)
        self.owes = False
        return True

    def _save(self) -> bool:
        """Write the file anew: the agent that numbers now first, in lines of fixed length."""
        if self._path is None:
            return False
        agents = {self.id: self.confirmed} | self._ended | self._untold
        fresh = self._path.with_suffix(".new")
        try:
            fresh.write_text("".join(_lines_of(agent, confirmed) for agent, confirmed in agents.items()))
            fresh.replace(self._path)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:  # what the old file lacks is known in memory, and will be said
            self._note_disk(error)
            return False
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = descriptor
        self._note_disk(None)
        return True


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
    """Take away the record of agents that another front end has adopted."""
    (folder / AGENTS_FILE).unlink(missing_ok=True)
