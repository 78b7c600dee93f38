"""The archiving agent: decides by policy, numbers IMs, and knows when an IM is safe on the queue.

One AMQP message at a time is on its way to its confirm; what arrives meanwhile is the next one (see
docs/decisions/0002). Numbers are used up only by a confirm, so they have no hole that isn't a loss.
"""

import asyncio
import logging
import time
from collections import OrderedDict, deque
from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid4

import msgspec

from contract.message import AGENT_TYPE, IM, IM_TYPE, AgentStatement, encode_ims, encode_statement, headers_of
from contract.policy import Decision, decide
from contract.token import Connector
from frontend.config import FrontEndSettings
from frontend.metrics import CONFIRM_SECONDS, CONFIRMED, PENDING, PUBLISH_SIZE
from frontend.policies import Policies
from frontend.publisher import Publisher, RefusedError, UnknownError
from frontend.submission import CheckedIM, IMProblem, check_connector

log = logging.getLogger("frontend")

_SWEEP_SECONDS: Final = 0.05
_RETRY_SECONDS: Final = 0.05
_QUIET_SECONDS: Final = 1.0
RETRY_AFTER: Final = {"Retry-After": "1"}


class Receipt(msgspec.Struct, eq=False):
    """An IM on its way, or what became of it."""

    id: UUID
    decision: Decision
    safe: "asyncio.Future[str] | None"
    """Empty text when the broker has confirmed it, else why it could not be made safe; None: not archived."""


class _Pending(msgspec.Struct, eq=False):
    im: CheckedIM
    decision: Decision
    deadline: float
    safe: "asyncio.Future[str]"


class Agent:
    """Takes IMs in, publishes those that policy archives."""

    def __init__(self, settings: FrontEndSettings, policies: Policies, publisher: Publisher) -> None:
        """Nothing runs yet."""
        self._settings = settings
        self._policies = policies
        self._publisher = publisher
        self._pending: deque[_Pending] = deque()
        self._pending_bytes = 0
        self._under_way: list[_Pending] = []
        self._recent: OrderedDict[UUID, tuple[bytes, Receipt]] = OrderedDict()
        self._wake = asyncio.Event()
        self._stated = 0
        self.room = asyncio.Event()
        """Set while more may be taken in: ``submit`` refuses what comes while it isn't."""
        self.room.set()
        self.id = uuid4()
        self.confirmed = 0
        """The number of the last IM that the broker has confirmed."""

    def submit(self, im: CheckedIM, connector: Connector) -> Receipt:
        """Decide on an IM, and take it in if it must be archived.

        Raises IMProblem: 403 if the connector may not send it, 409 if its id was used for another content,
        503 if too many IMs wait already.
        """
        policy = self._policies.current
        check_connector(connector, im, policy.domains if policy is not None else connector.domains)
        decision = decide(
            policy,
            pool=self._settings.pool,
            sender=im.sender,
            recipients=im.recipients,
            content_type=im.content_type,
            domains=connector.domains,
        )
        if not decision.archive:
            return Receipt(im.id, decision, None)
        digest = b""
        if im.brought:
            digest = im.digest()
            known = self._recent.get(im.id)
            if known is not None:
                if known[0] != digest:
                    raise IMProblem(
                        im.id,
                        409,
                        "this id was used for another content: make a new id for each IM",
                        field="/id",
                    )
                return known[1]
        if not self.room.is_set():
            raise IMProblem(
                im.id, 503, "too many IMs wait for the broker: send it again later", headers=RETRY_AFTER
            )
        safe: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        receipt = Receipt(im.id, decision, safe)
        deadline = time.monotonic() + self._settings.deadline_seconds
        self._pending.append(_Pending(im, decision, deadline, safe))
        self._pending_bytes += im.size
        if self._is_full():
            self.room.clear()
        if im.brought:
            self._remember(receipt, digest)
        self._wake.set()
        return receipt

    def _is_full(self) -> bool:
        settings = self._settings
        return len(self._pending) >= settings.max_pending or self._pending_bytes >= settings.max_pending_bytes

    def _remember(self, receipt: Receipt, digest: bytes) -> None:
        self._recent[receipt.id] = (digest, receipt)
        if len(self._recent) > self._settings.remembered_ids:
            self._recent.popitem(last=False)

    @property
    def accepted(self) -> int:
        """How many IMs this agent has taken in: those confirmed, and those that wait."""
        return self.confirmed + len(self._under_way) + len(self._pending)

    async def run(self) -> None:
        """Publish what is taken in, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sweep())
            group.create_task(self._publish_all())

    async def drain(self) -> None:
        """Wait until everything taken in is answered; then say how far this agent got."""
        await asyncio.gather(*(pending.safe for pending in (*self._under_way, *self._pending)))
        await self._state(ended=True)

    async def _sweep(self) -> None:
        """Answer IMs whose deadline has come."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = time.monotonic()
            PENDING.set(len(self._pending))
            while self._pending and self._pending[0].deadline <= now:
                self._give_up(self._take_first(), "the broker could not be reached in time")
            for pending in self._under_way:
                if pending.deadline <= now:
                    self._give_up(pending, "the broker did not confirm in time")

    def _take_first(self) -> _Pending:
        pending = self._pending.popleft()
        self._pending_bytes -= pending.im.size
        if not self.room.is_set() and not self._is_full():
            self.room.set()
        return pending

    def _give_up(self, pending: _Pending, why: str) -> None:
        if not pending.safe.done():
            pending.safe.set_result(why)
            if pending.im.brought:
                self._recent.pop(pending.im.id, None)

    async def _publish_all(self) -> None:
        while True:
            if not self._pending:
                await self._wait_for_work()
                continue
            await self._publisher.connected.wait()
            await self._publish_next()

    async def _wait_for_work(self) -> None:
        self._wake.clear()
        try:
            await asyncio.wait_for(self._wake.wait(), _QUIET_SECONDS)
        except TimeoutError:
            if self.confirmed > self._stated and self._publisher.connected.is_set():
                await self._state(ended=False)

    async def _publish_next(self) -> None:
        """Publish one AMQP message of all that has gathered, up to its limits."""
        group: list[_Pending] = []
        size = 0
        while (
            self._pending and len(group) < self._settings.publish_ims and size < self._settings.publish_bytes
        ):
            group.append(self._take_first())
            size += group[-1].im.size
        if not group:
            return
        ims = [self._number(pending, seq) for seq, pending in enumerate(group, self.confirmed + 1)]
        self._under_way = group
        started = time.monotonic()
        try:
            await self._publisher.publish(
                encode_ims(ims),
                headers_of(ims),
                IM_TYPE,
                str(ims[0].id),
                seconds=self._settings.deadline_seconds,
            )
        except RefusedError as error:
            # Definitely not on the queue: the numbers are free again; the IMs wait on, until their deadline.
            log.warning("not taken by the broker", extra={"ims": len(group), "error": str(error)[:200]})
            self._put_back(group)
            await asyncio.sleep(_RETRY_SECONDS)
        except UnknownError as error:
            log.warning("publish of unknown outcome", extra={"ims": len(group), "error": str(error)[:200]})
            for pending in group:
                self._give_up(pending, "the broker's answer was lost: it may have been archived")
            self._begin_anew()
        else:
            self.confirmed += len(group)
            for pending in group:
                if not pending.safe.done():
                    pending.safe.set_result("")
            CONFIRMED.inc(len(group))
            PUBLISH_SIZE.observe(len(group))
            CONFIRM_SECONDS.observe(time.monotonic() - started)
        finally:
            self._under_way = []

    def _put_back(self, group: list[_Pending]) -> None:
        self._under_way = []
        for pending in reversed(group):
            if not pending.safe.done():
                self._pending.appendleft(pending)
                self._pending_bytes += pending.im.size

    def _begin_anew(self) -> None:
        """Nobody knows how far this agent got: it ends here, and the numbers begin at 1 again."""
        log.info("new agent", extra={"ended": str(self.id), "confirmed": self.confirmed})
        self.id, self.confirmed, self._stated = uuid4(), 0, 0

    def _number(self, pending: _Pending, seq: int) -> IM:
        im, decision = pending.im, pending.decision
        return IM(
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
        )

    async def _state(self, *, ended: bool) -> None:
        """Say on the queue how far this agent got; if that fails, its IMs' own numbers must do."""
        statement = AgentStatement(
            agent=self.id,
            pool=self._settings.pool,
            front_end=self._settings.front_end,
            confirmed=self.confirmed,
            ended=ended,
            at=datetime.now(UTC),
        )
        try:
            await self._publisher.publish(
                encode_statement(statement),
                {},
                AGENT_TYPE,
                f"{self.id}-{self.confirmed}",
                seconds=self._settings.deadline_seconds,
            )
            self._stated = self.confirmed
        except (RefusedError, UnknownError) as error:
            log.warning("the agent's statement was not confirmed", extra={"error": str(error)[:200]})
