"""Archiving agents' numbers: the broker's confirm uses an IM's number up, so a hole is always a loss.

An agent ends with its process, or with a publish of unknown outcome; then the next begins at 1. A statement
on the queue says how far an agent got. The witness tells the admin API as well, because a queue may be lost
with its statements. Agents whose statement is still due, of this process or of one that was killed, stand in
a file. Agents of which the admin API was told stand in another: an archive that is restored is told again.
"""

import asyncio
import logging
import time
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
    PEOPLE_HEADER,
    PUBLISHED_HEADER,
    AgentStatement,
    encode_ims,
    encode_statement,
    headers_of,
)
from contract.policy import Decision
from contract.witness import AgentNumbers
from frontend.agents_file import AgentsFile, read_agents
from frontend.config import FrontEndSettings
from frontend.im import CheckedIM
from frontend.metrics import CONFIRM_SECONDS, CONFIRMED, PUBLISH_SIZE
from frontend.publisher import Publisher, RefusedError, UnknownError
from frontend.told import Told

if TYPE_CHECKING:  # OpenTelemetry is loaded only where it is used
    from frontend.spans import Tracing

log = logging.getLogger("frontend")

_MOST_TOLD: Final = 100
"""Agents of which the witness tells at once, beside the one that numbers."""
_SELDOM: Final = tuple(
    field.name
    for field in msgspec.structs.fields(IM)
    if not field.required and field.name in CheckedIM.__struct_fields__ and field.name != "received_at"
)
"""Fields that few IMs have. A field that is new on the wire has a default, so it is one of these."""
_seldom_of: Final[Callable[[CheckedIM], tuple[object, ...]]] = attrgetter(*_SELDOM)
_DEFAULTS: Final = tuple(field.default for field in msgspec.structs.fields(IM) if field.name in _SELDOM)


class Numbering:
    """The agent that numbers now, and those that ended and have a statement due."""

    def __init__(
        self,
        settings: FrontEndSettings,
        publisher: Publisher,
        folder: Path | None,
        tracing: "Tracing | None",
    ) -> None:
        """``folder``: see ``keep_in``; None if there is none yet."""
        self._settings = settings
        self._tracing = tracing
        self._publisher = publisher
        self._file = AgentsFile()
        self.id = uuid4()
        self.confirmed = 0
        """The number of the last IM that the broker has confirmed."""
        self.trouble = ""
        """Why the broker did not take the last AMQP message, though it was connected; empty if it did."""
        self.publish_lock = asyncio.Lock()
        """Held while an AMQP message is on its way to its confirm, so there is one at a time.

        The caller of ``publish`` holds it, from before it chooses the IMs until it has noted what became of
        them. ``publish_statements`` takes it itself. ``publish_last_statement`` takes it and never lets go.
        """
        self._confirmed_at: datetime | None = None
        self._stated = 0
        self._unstated: dict[UUID, int] = {}
        """Agents that ended and have a statement due, and how far each got."""
        self._uncounted: dict[UUID, list[tuple[int, int]]] = {}
        """Ranges of agents' numbers whose confirm came too late, or got lost; no statement has them yet."""
        self.owes_statement = False
        """True while a statement of such ranges is due: there are some, and confirms come in time again."""
        self._untold: dict[UUID, int] = {}
        """Agents that ended and of which the admin API is to be told."""
        self.told = Told()
        """Agents that ended, of which another archive would be told again."""
        self._over = False
        if folder is not None:
            self.keep_in(folder)

    def keep_in(self, folder: Path) -> None:
        """Keep the file in a folder from now on; statements of agents that it names are due."""
        try:
            left = read_agents(folder)
        except OSError as error:
            log.error("how far agents got can't be read", extra={"error": str(error)})
        else:
            left.pop(self.id, None)
            self._note_ended(left)
        self.told.keep_in(folder)
        self._file.keep_in(folder)
        self._save()

    @property
    def disk_trouble(self) -> str:
        """Why numbers aren't kept on disk; empty while they are."""
        return self._file.trouble

    async def publish(self, ims: Sequence[tuple[CheckedIM, Decision]]) -> None:
        """Put IMs on the queue in one AMQP message, with the next numbers; the caller holds ``publish_lock``.

        Raises RefusedError if they are not on the queue: their numbers are free again. Raises UnknownError if
        they may be: a new agent begins.
        """
        try:
            if self._unstated and not await self._publish_ended():
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
        if not self._file.write_first(self.id, self.confirmed):
            self._save()
        log.debug(
            "confirmed",
            extra={"im": numbered[0].id, "ims": len(numbered), "agent": self.id, "seq": numbered[0].seq},
        )
        CONFIRMED.inc(len(numbered))
        PUBLISH_SIZE.observe(len(numbered))
        CONFIRM_SECONDS.observe(time.monotonic() - started)

    def note_late(self, late: Sequence[bool]) -> None:
        """Disown the numbers of the last publish that have an IM answered before the confirm came.

        ``late`` has True for each of these IMs: it counts under another number, or not at all.
        """
        for number, answered in enumerate(late, self.confirmed - len(late) + 1):
            if answered:
                self._disown(number, number)
        self.owes_statement = bool(self._uncounted) and not any(late)

    def _disown(self, first: int, last: int) -> None:
        """Have the next statement say that no IM was accepted under the numbers from first to last."""
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
        else:  # for the archive alone: no IM of that publish was accepted under its number
            self._unstated[self.id] = 0
        self.id, self.confirmed, self._stated = uuid4(), 0, 0
        self._confirmed_at = None
        self._save()

    def adopt(self, agents: dict[UUID, int]) -> bool:
        """Publish the statements of another front end's agents, which ended without; return True once that is
        noted on disk."""
        self._note_ended(agents)
        return not agents or self._save()

    def _note_ended(self, agents: dict[UUID, int]) -> None:
        self._unstated |= agents
        if self._settings.admin_api_url is not None:
            self._untold |= agents

    def numbers(self) -> list[AgentNumbers]:
        """Return the numbers of which the admin API is to be told, this agent's first."""
        current = [AgentNumbers(self.id, self.confirmed, self._over)] if self.confirmed else []
        ended = islice(chain(self._untold.items(), self.told.of_another()), _MOST_TOLD)
        return current + [AgentNumbers(*each, True) for each in ended]

    def note_told(self, numbers: Sequence[AgentNumbers], incarnation: str) -> None:
        """Note that the admin API was told; ``incarnation``: of its archive, empty if that is unknown."""
        told = {each.agent: each.confirmed for each in numbers if each.ended}
        self.told.note(told, incarnation)  # before the other file loses them
        for agent in told:
            self._untold.pop(agent, None)
        if told:
            self._tidy(told=self.id in told)

    def _tidy(self, *, told: bool) -> None:
        """Write the file anew, or remove it once this agent is over and no agent in it has anything due."""
        if not self._over or not told or self._unstated or self._untold:
            self._save()
        else:
            self._file.remove()

    async def publish_statements(self) -> None:
        """Publish the statements that are due: of agents that ended and, if it got further, of this one.

        In trouble this one's is published anyhow, as a trial: a front end without IMs would not see that the
        broker takes them again.
        """
        async with self.publish_lock:
            if self._unstated and not await self._publish_ended():
                return
            confirmed = self.confirmed
            if (confirmed > self._stated or self.trouble) and await self._publish_statement(
                self.id, confirmed
            ):
                self._stated = confirmed

    async def publish_last_statement(self) -> None:
        """Publish the statements that are due and this agent's last; take ``publish_lock`` for good."""
        await self.publish_lock.acquire()  # for good
        if self._unstated and not await self._publish_ended():
            return
        if await self._publish_statement(self.id, self.confirmed, ended=True):
            self._over = True
            self._tidy(told=self._settings.admin_api_url is None or not self.confirmed)

    async def _publish_ended(self) -> bool:
        for agent, confirmed in list(self._unstated.items()):
            if not await self._publish_statement(agent, confirmed, ended=True):
                return False
            del self._unstated[agent]
        self._save()
        return True

    async def _publish_statement(self, agent: UUID, confirmed: int, *, ended: bool = False) -> bool:
        """Put a statement on the queue; return False if it is not confirmed.

        Then it is published later, or the IMs' own numbers must do.
        """
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
        self.owes_statement = False
        return True

    def _save(self) -> bool:
        """Write the file anew: the agent that numbers now first."""
        return self._file.write({self.id: self.confirmed} | self._unstated | self._untold)
