"""The archiving agent: decides by policy, and knows when an IM is safe.

Safe is what the broker has confirmed or, in a pool that isn't critical, what the spool has on disk. One AMQP
message at a time is on its way to its confirm; what arrives meanwhile is the next one (docs/decisions/0002).
What is in the spool goes first, so IMs keep their order (docs/decisions/0008).
"""

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec

from contract.policy import Decision, Policy
from contract.token import Connector
from frontend.adoption import adopt_abandoned
from frontend.cdr import CDR
from frontend.config import FrontEndSettings
from frontend.decisions import Decisions
from frontend.disclaimers import Disclaimers
from frontend.metrics import PENDING
from frontend.numbering import Numbering
from frontend.policies import Policies
from frontend.publisher import Publisher, RefusedError, UnknownError
from frontend.receipt import CONFIRMED, NOT_ARCHIVED, SPOOLED, Fate, Receipt
from frontend.slot import Slot
from frontend.spool import Spool, SpoolError
from frontend.state import State
from frontend.submission import CheckedIM, IMProblem

if TYPE_CHECKING:  # OpenTelemetry is loaded only where it is used
    from frontend.tracing import Tracing

log = logging.getLogger("frontend")

_SWEEP_SECONDS: Final = 0.05
_RETRY_SECONDS: Final = 0.05
_QUIET_SECONDS: Final = 1.0
_ADOPT_SECONDS: Final = 10.0
_NEARLY_EMPTY: Final = 2000
"""IMs in the spool that are published in so short a time that new ones may wait for it."""
RETRY_AFTER: Final = {"Retry-After": "1"}


class _Pending(msgspec.Struct, eq=False, gc=False):
    im: CheckedIM
    receipt: Receipt
    deadline: float
    to_disk: bool = False
    """Whether it has been handed to the spool."""


class Agent:
    """Takes IMs in, makes those safe that policy archives."""

    def __init__(
        self,
        settings: FrontEndSettings,
        policies: Policies,
        publisher: Publisher,
        slot: Slot,
        tracing: "Tracing | None" = None,
    ) -> None:
        """``slot`` keeps the spool and how far the numbers got. Nothing runs yet. Raises OSError."""
        self._settings = settings
        self._policies = policies
        self._publisher = publisher
        self._slot = slot
        self._spool = Spool(slot.folder, settings.spool_max_bytes)
        self._tracing = tracing
        self._numbering = Numbering(settings, publisher, slot.folder, tracing)
        self._decisions = Decisions(settings.pool)
        self._disclaimers = Disclaimers(settings, policies)
        self.cdr = CDR(settings, policies)
        """Call detail records: of what may be delivered."""
        self._pending: deque[_Pending] = deque()
        self._pending_bytes = 0
        self._under_way: list[_Pending] = []
        self._to_disk: set[_Pending] = set()
        self._recent: OrderedDict[UUID, tuple[bytes, Receipt]] = OrderedDict()
        self._wake = asyncio.Event()
        self._trouble = ""
        """Why the broker took nothing last time, though it is connected."""
        self._state = State()
        self.room = asyncio.Event()
        """Set while more may be taken in: ``submit`` refuses what comes while it isn't."""
        self.room.set()

    @property
    def state(self) -> State:
        """How this front end stands now."""
        self._judge()
        return self._state

    @property
    def id(self) -> UUID:
        """The agent that numbers now."""
        return self._numbering.id

    @property
    def confirmed(self) -> int:
        """The number of the last IM that the broker has confirmed."""
        return self._numbering.confirmed

    @property
    def accepted(self) -> int:
        """How many IMs this agent has taken in: those confirmed, and those that wait."""
        return self.confirmed + len(self._under_way) + len(self._pending) + len(self._to_disk)

    @property
    def spooled(self) -> int:
        """How many IMs wait in the spool."""
        return self._spool.count

    @property
    def policy(self) -> Policy | None:
        """The policy that decides now."""
        return self._policies.current

    def _is_critical(self) -> bool:
        """Whether what isn't confirmed may not be delivered; without a policy nobody knows that it may."""
        policy = self._policies.current
        return policy is None or policy.pool(self._settings.pool).critical

    def submit(self, im: CheckedIM, connector: Connector, traceparent: str | None = None) -> Receipt:
        """Decide on an IM, and take it in if it must be archived; ``traceparent``: its sender's context.

        Raises IMProblem: 403 if the connector may not send it, 409 if its id was used for another content,
        503 if too many IMs wait already.
        """
        return self._disclaimers.accompany(im, self._take_in(im, connector, traceparent))

    def _take_in(self, im: CheckedIM, connector: Connector, traceparent: str | None) -> Receipt:
        decision = self._decisions.decide(self._policies.current, im, connector)
        im.client = im.client or connector.name
        if not decision.archive:
            self.cdr.note_im(im, decision)
            return Receipt(im.id, decision, NOT_ARCHIVED)
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
        receipt = Receipt(im.id, decision)
        if self._tracing is not None:
            self._tracing.begin(receipt, traceparent)
        if im.brought:
            self._remember(receipt, digest)
        pending = _Pending(im, receipt, time.monotonic() + self._settings.deadline_seconds)
        if self._spools():
            self._spill()
            self._put_to_disk(pending)
        else:
            self._pending.append(pending)
            self._pending_bytes += im.size
            self._wake.set()
        if self._is_full():
            self.room.clear()
        return receipt

    def _spools(self) -> bool:
        """Whether an IM goes to the spool at once: nobody should wait for a broker known to be away, nor for
        a long spool to go first."""
        if not self._spool.count and not self._trouble and self._publisher.connected.is_set():
            return False  # as nearly always
        away = bool(self._trouble) or not self._publisher.connected.is_set()
        return (away or self._spool.count > _NEARLY_EMPTY) and not self._is_critical()

    def _spill(self) -> None:
        """Hand to the spool what still waits for the broker: it came before what goes there next."""
        for pending in self._under_way:
            self._give_up(pending, "")
        while self._pending:
            self._give_up(self._take_first(), "")

    def _put_to_disk(self, pending: _Pending) -> None:
        pending.to_disk = True
        pending.deadline = time.monotonic() + self._settings.deadline_seconds
        try:
            written = self._spool.put(pending.im, pending.receipt.decision)
        except SpoolError as error:
            self._refuse(pending, str(error))
            return
        self._to_disk.add(pending)
        self._pending_bytes += pending.im.size

        def note(written: "asyncio.Future[None]") -> None:
            self._to_disk.discard(pending)
            self._pending_bytes -= pending.im.size
            self._make_room()
            if (error := written.exception()) is not None:
                self._refuse(pending, str(error))
            elif pending.receipt.fate is None:
                self._settle(pending, SPOOLED)
            self._wake.set()

        written.add_done_callback(note)

    def _is_full(self) -> bool:
        settings = self._settings
        waiting = len(self._pending) + len(self._to_disk)
        return waiting >= settings.max_pending or self._pending_bytes >= settings.max_pending_bytes

    def _make_room(self) -> None:
        if not self.room.is_set() and not self._is_full():
            self.room.set()

    def _remember(self, receipt: Receipt, digest: bytes) -> None:
        self._recent[receipt.id] = (digest, receipt)
        if len(self._recent) > self._settings.remembered_ids:
            self._recent.popitem(last=False)

    async def run(self) -> None:
        """Make safe what is taken in, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._spool.run())
            group.create_task(self._sweep())
            group.create_task(self._publish_all())
            group.create_task(self._adopt())
            group.create_task(self._disclaimers.run())
            group.create_task(self.cdr.run())

    async def drain(self) -> None:
        """Wait until everything taken in is answered; then say how far this agent got.

        What is in the spool stays there, for the next process.
        """
        waiting = (*self._under_way, *self._pending, *self._to_disk)
        for pending in waiting:
            await pending.receipt.settled()
        if await self._say(self._numbering.state(ended=True)):
            self._numbering.end()
        await self.cdr.drain()

    async def _sweep(self) -> None:
        """Look after IMs whose deadline has come, and after the state."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = time.monotonic()
            PENDING.set(len(self._pending))
            while self._pending and self._pending[0].deadline <= now:
                self._give_up(self._take_first(), self._trouble or "the broker could not be reached in time")
            for pending in self._under_way:
                if pending.deadline <= now:
                    self._give_up(pending, "the broker did not confirm in time")
            for pending in [each for each in self._to_disk if each.deadline <= now]:
                self._refuse(pending, "the spool's disk did not answer in time")
                self._to_disk.discard(pending)
            self._judge()

    def _judge(self) -> None:
        trouble = self._trouble
        if not self._publisher.connected.is_set():
            trouble = self._publisher.trouble
        if trouble and self._is_critical():
            self._state.change("blocking", trouble)
        elif self._spool.trouble and (trouble or self._spool.count):
            self._state.change("blocking", self._spool.trouble)
        elif trouble:
            self._state.change("spooling", trouble)
        elif self._spool.count:
            self._state.change("spooling", "the broker is back: the spool is being sent")
        else:
            self._state.change("normal", "the broker confirms")

    def _take_first(self) -> _Pending:
        pending = self._pending.popleft()
        self._pending_bytes -= pending.im.size
        self._make_room()
        return pending

    def _give_up(self, pending: _Pending, why: str) -> None:
        """Let an IM wait for the broker no longer."""
        if pending.receipt.fate is not None or pending.to_disk:
            return
        if self._is_critical():
            self._refuse(pending, why)
        else:
            self._put_to_disk(pending)

    def _settle(self, pending: _Pending, fate: Fate) -> None:
        """Say that an IM is safe."""
        pending.receipt.settle(fate)
        self.cdr.note_im(pending.im, pending.receipt.decision)

    def _refuse(self, pending: _Pending, why: str) -> None:
        if pending.receipt.fate is None:
            pending.receipt.settle(Fate("refused", why))
            if pending.im.brought:
                self._recent.pop(pending.im.id, None)

    async def _publish_all(self) -> None:
        while True:
            # What is being written to the spool came before what is pending.
            if not self._spool.count and (self._to_disk or not self._pending):
                await self._wait_for_work()
                continue
            await self._publisher.connected.wait()
            if self._numbering.unsaid and not await self._say(self._numbering.state_ended()):
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if self._spool.count:
                await self._publish_spooled()
            elif self._pending:  # they may have been given up while the broker was away
                await self._publish_pending()

    async def _wait_for_work(self) -> None:
        self._wake.clear()
        try:
            await asyncio.wait_for(self._wake.wait(), _QUIET_SECONDS)
        except TimeoutError:
            if self._publisher.connected.is_set():
                if self._numbering.unsaid:
                    await self._say(self._numbering.state_ended())
                # In trouble it is a trial too: else nobody would see that the broker takes IMs again.
                await self._say(self._numbering.state(ended=False, anyhow=bool(self._trouble)))

    async def _say(self, statement: "Coroutine[None, None, None]") -> bool:
        """Put a statement on the queue; if that fails, it is said later, or the IMs' own numbers must do."""
        try:
            await statement
        except (RefusedError, UnknownError) as error:
            log.warning("an agent's statement was not confirmed", extra={"error": str(error)[:200]})
            self._trouble = error.why
            return False
        self._trouble = ""
        return True

    async def _publish_spooled(self) -> None:
        """Publish the oldest IMs of the spool, then take them out."""
        settings = self._settings
        try:
            spooled = await self._spool.first(settings.publish_ims, settings.publish_bytes)
            if spooled and await self._publish([(each.im, each.decision) for each in spooled]):
                await self._spool.remove_first()
            elif spooled:
                await asyncio.sleep(_RETRY_SECONDS)
        except UnknownError:
            return  # they come again, under a new agent's numbers: the archive knows their ids
        except SpoolError as error:
            log.error("the spool can't be sent", extra={"error": str(error)[:200]})
            await asyncio.sleep(_QUIET_SECONDS)

    async def _publish_pending(self) -> None:
        """Publish one AMQP message of all that has gathered, up to its limits."""
        group: list[_Pending] = []
        size = 0
        while (
            self._pending and len(group) < self._settings.publish_ims and size < self._settings.publish_bytes
        ):
            group.append(self._take_first())
            size += group[-1].im.size
        self._under_way = group
        try:
            confirmed = await self._publish([(pending.im, pending.receipt.decision) for pending in group])
        except UnknownError:
            for pending in group:
                self._give_up(pending, "the broker's answer was lost: it may have been archived")
        else:
            if confirmed:
                for pending in group:
                    if pending.receipt.fate is None:
                        self._settle(pending, CONFIRMED)
            elif self._is_critical():
                self._put_back(group)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                self._spill()
        finally:
            self._under_way = []

    async def _publish(self, ims: Sequence[tuple[CheckedIM, Decision]]) -> bool:
        """Return whether the broker has confirmed IMs, False if it refused them. Raises UnknownError."""
        try:
            await self._numbering.publish(ims)
        except RefusedError as error:
            log.warning("not taken by the broker", extra={"ims": len(ims), "error": str(error)[:200]})
            self._trouble = error.why
            return False
        except UnknownError as error:
            log.warning("publish of unknown outcome", extra={"ims": len(ims), "error": str(error)[:200]})
            self._trouble = error.why
            raise
        self._trouble = ""
        return True

    def _put_back(self, group: list[_Pending]) -> None:
        self._under_way = []
        for pending in reversed(group):
            if pending.receipt.fate is None and not pending.to_disk:
                self._pending.appendleft(pending)
                self._pending_bytes += pending.im.size

    async def _adopt(self) -> None:
        """Take over, now and then, what front ends left that are no more."""
        while True:
            await asyncio.sleep(_ADOPT_SECONDS)
            if self.state.name == "normal":
                await adopt_abandoned(self._slot, self._spool, self._numbering)
