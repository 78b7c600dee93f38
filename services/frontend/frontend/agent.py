"""The archiving agent: decides by policy, and knows when an IM is safe.

Safe is what the broker has confirmed or, in a pool that isn't critical, what the spool has on disk. One AMQP
message at a time is on its way to its confirm; what arrives meanwhile is the next one (docs/decisions/0002).
What is in the spool goes first, so IMs keep their order, where they can wait for it (docs/decisions/0008).
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final
from uuid import UUID

from contract.cdr import Activity
from contract.message import Scope
from contract.policy import Policy
from contract.problem import Problem
from contract.token import Connector, conversation_key
from frontend.adoption import Adoption
from frontend.cdr import CDR
from frontend.config import FrontEndSettings
from frontend.decisions import Decisions
from frontend.disclaimers import Disclaimers
from frontend.metrics import DISK_TROUBLE, PENDING
from frontend.newcomers import SMALL, Newcomers
from frontend.numbering import Numbering
from frontend.policies import Policies
from frontend.publisher import Publisher, RefusedError, UnknownError, raise_if_cancelled
from frontend.receipt import CONFIRMED, NOT_ARCHIVED, SPOOLED, Fate, Receipt
from frontend.sender import Sender
from frontend.spool import Spool, SpoolError
from frontend.state import State
from frontend.submission import CheckedIM, IMProblem
from frontend.waiting import Pending, Waiting
from frontend.witness import Witness

if TYPE_CHECKING:  # OpenTelemetry is loaded only where it is used
    from frontend.tracing import Tracing

log = logging.getLogger("frontend")

_SLOW: Final = "the broker did not confirm in time"
_SWEEP_SECONDS: Final = 0.05
_RETRY_SECONDS: Final = 0.05
_QUIET_SECONDS: Final = 1.0
_ADOPT_SECONDS: Final = 10.0
_NEARLY_EMPTY: Final = 2000
"""IMs in the spool that are published in so short a time that new ones may wait for it."""
RETRY_AFTER: Final = {"Retry-After": "1"}


class Agent:
    """Takes IMs in, makes those safe that policy archives."""

    def __init__(
        self,
        settings: FrontEndSettings,
        policies: Policies,
        publisher: Publisher,
        spool: Spool,
        tracing: "Tracing | None" = None,
        connectors: Collection[Connector] = (),
    ) -> None:
        """How far the numbers got is kept beside the spool; ``connectors``: all that have a token.

        Nothing runs yet.
        """
        self._settings = settings
        self._policies = policies
        self._publisher = publisher
        self._spool = spool
        self._tracing = tracing
        self._numbering = Numbering(settings, publisher, spool.slot.folder if spool.slot else None, tracing)
        self._witness = Witness(settings, self._numbering)
        self._numbers_in = spool.slot
        self._adoption = Adoption(settings.pool, spool, self._numbering)
        self._wake = asyncio.Event()
        self._sender = Sender(settings, self._spool, self._numbering, publisher, self._wake.set)
        self._decisions = Decisions(settings.pool, connectors)
        self.disclaimers = Disclaimers(settings, policies)
        """Which partners were told that they are archived."""
        self.cdr = CDR(settings, policies)
        """Call detail records: of what may be delivered."""
        self._newcomers = Newcomers()
        self._waiting = Waiting(settings, max(1, sum(each.pool == settings.pool for each in connectors)))
        # Bounded by entries alone: nothing in one is as long as its caller likes.
        self._recent: OrderedDict[UUID, tuple[bytes, Receipt]] = OrderedDict()
        self._state = State()

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
        return self.confirmed + len(self._waiting)

    @property
    def spooled(self) -> int:
        """How many IMs wait in the spool."""
        return self._spool.count

    @property
    def disk_trouble(self) -> str:
        """Why what must outlive this front end can't be kept on its disk; empty while it can."""
        return self._spool.trouble or self._spool.stuck or self._numbering.disk_trouble

    @property
    def left(self) -> dict[str, str]:
        """Slots of the state folder that a person must look after, and why."""
        return {name: left.why for name, left in self._adoption.left.items()}

    @property
    def policy(self) -> Policy | None:
        """The policy that decides now."""
        return self._policies.current

    def _is_critical(self) -> bool:
        """Whether what isn't confirmed may not be delivered; without a policy nobody knows that it may."""
        policy = self._policies.current
        return policy is None or policy.pool(self._settings.pool).critical

    def room_of(self, connector: Connector) -> asyncio.Event:
        """Return what is set while a connector may bring more: else ``submit`` refuses it."""
        return self._waiting.lane(connector.name).room

    def submit(self, im: CheckedIM, connector: Connector, traceparent: str | None = None) -> Receipt:
        """Decide on an IM, and take it in if it must be archived; ``traceparent``: its sender's context.

        Raises IMProblem: 403 if the connector may not send it, 409 if its id was used for another content,
        503 if too many IMs wait already.
        """
        return self.disclaimers.accompany(im, self._take_in(im, connector, traceparent), connector.name)

    def _take_in(self, im: CheckedIM, connector: Connector, traceparent: str | None) -> Receipt:
        decision = self._decisions.decide(self._policies.current, im, connector)
        im.client = im.client or connector.name
        if im.keyed:
            im.conversation, im.keyed = conversation_key(connector.name, im.conversation), False
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
        lane = self._waiting.lane(connector.name)
        if not lane.room.is_set():
            raise IMProblem(
                im.id, 503, "too many IMs wait for the broker: send it again later", headers=RETRY_AFTER
            )
        if len(im.recipients) > SMALL:
            self._newcomers.check(im, connector.name)
        receipt = Receipt(im.id, decision)
        if self._tracing is not None:
            self._tracing.begin(receipt, traceparent)
        if im.brought:
            self._remember(receipt, digest)
        pending = Pending(im, receipt, time.monotonic() + self._settings.deadline_seconds, lane)
        if self._spools():
            self._spill()
            self._put_to_disk(pending)
        else:
            self._waiting.add(pending)
            self._wake.set()
        return receipt

    def note_session(self, activity: Activity, connector: Connector) -> None:
        """Have a session's begin or end in the call detail records; its key is the connector's own.

        Raises Problem (403) if the connector may not speak for who begins one, or tries to talk past us.
        """
        if activity.invited or activity.attempts:  # who ends one may be a partner whom nobody vouches for
            self._check_rights(activity, connector)
        self.cdr.note_session(activity, connector.name)

    def note_attempt(self, activity: Activity, connector: Connector) -> None:
        """Have an attempt to talk past us in the call detail records, outside a session.

        Raises Problem (403) if the connector may not speak for the sender.
        """
        self._check_rights(activity, connector)
        self.cdr.note(activity)

    def scope_of(self, people: Iterable[str]) -> Scope:
        """Return the scope of what these people say; without a policy they are taken for ours."""
        policy = self._policies.current
        return "internal" if policy is None or all(map(policy.is_local, people)) else "federated"

    def _check_rights(self, activity: Activity, connector: Connector) -> None:
        sender, recipients = activity.sender, activity.recipients
        if why := self._decisions.refusal_of(self._policies.current, sender, recipients, connector):
            raise Problem(403, why)

    def _spools(self) -> bool:
        """Whether an IM goes to the spool at once: nobody waits for an absent broker or a long spool."""
        away = bool(self._numbering.trouble) or not self._publisher.connected.is_set()
        if not away and self._spool.count <= _NEARLY_EMPTY:
            return False  # as nearly always
        return not self._is_critical() and (away or not self._overtakes())

    def _overtakes(self) -> bool:
        """Whether an IM goes ahead of what is in the spool: where it may not go there, or can't."""
        return bool(self._spool.trouble or self._spool.stuck) or self._is_critical()

    def _spill(self) -> None:
        """Hand to the spool what still waits for the broker: it came before what goes there next."""
        for pending in self._waiting.under_way:
            self._give_up(pending, "")
        while self._waiting.has_queued:
            self._give_up(self._waiting.take_first(), "")

    def _put_to_disk(self, pending: Pending) -> None:
        pending.to_disk = True
        pending.deadline = time.monotonic() + self._settings.deadline_seconds
        try:
            written = self._spool.put(pending.im, pending.receipt.decision)
        except SpoolError as error:
            self._refuse(pending, str(error))
            return
        self._waiting.begin_write(pending)

        def note(written: "asyncio.Future[None]") -> None:
            self._waiting.end_write(pending)
            if (error := written.exception()) is not None:
                self._refuse(pending, str(error))
            elif pending.receipt.fate is None:
                self._settle(pending, SPOOLED)
            self._wake.set()

        written.add_done_callback(note)

    def _remember(self, receipt: Receipt, digest: bytes) -> None:
        self._recent[receipt.id] = (digest, receipt)
        if len(self._recent) > self._settings.remembered_ids:
            self._recent.popitem(last=False)

    async def run(self) -> None:
        """Make safe what is taken in, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._spool.run())
                group.create_task(self._sweep())
                group.create_task(self._publish_all())
                group.create_task(self._sender.run())
                group.create_task(self._adopt())
                group.create_task(self.disclaimers.run())
                group.create_task(self.cdr.run())
                group.create_task(self._witness.run())
        finally:
            self._spool.close()

    async def drain(self) -> None:
        """Wait until everything taken in is answered; then say how far this agent got.

        What is in the spool stays there, for the next process.
        """
        for pending in self._waiting:
            await pending.receipt.settled()
        await self._numbering.end()
        await self._witness.tell_last()
        await self.cdr.drain()

    async def _sweep(self) -> None:
        """Look after IMs whose deadline has come, and after the state."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = time.monotonic()
            PENDING.set(self._waiting.queued)
            for pending in self._waiting.under_way:  # the oldest first
                if pending.deadline <= now:
                    self._give_up(pending, _SLOW)
            for pending in self._waiting.take_late(now):
                self._give_up(pending, self._broker_trouble() or _SLOW)
            for pending in [each for each in self._waiting.to_disk if each.deadline <= now]:
                self._refuse(pending, "the spool's disk did not answer in time")
                self._waiting.to_disk.discard(pending)
            self._judge()

    def _broker_trouble(self) -> str:
        return self._numbering.trouble if self._publisher.connected.is_set() else self._publisher.trouble

    def _judge(self) -> None:
        DISK_TROUBLE.set(bool(self.disk_trouble))
        trouble = self._broker_trouble()
        if trouble and self._is_critical():
            self._state.change("blocking", trouble)
        elif trouble and self._spool.trouble:
            self._state.change("blocking", self._spool.trouble)
        elif trouble:
            self._state.change("spooling", trouble)
        elif self._spool.count:
            self._state.change("spooling", self._spool.stuck or "the broker is back: the spool is being sent")
        elif self._adoption.waits:
            self._state.change("spooling", self._adoption.waits)
        else:
            self._state.change("normal", "the broker confirms")

    def _give_up(self, pending: Pending, why: str) -> None:
        """Let an IM wait for the broker no longer."""
        if pending.receipt.fate is not None or pending.to_disk:
            return
        if self._is_critical():
            self._refuse(pending, why)
        else:
            self._put_to_disk(pending)

    def _settle(self, pending: Pending, fate: Fate) -> None:
        """Say that an IM is safe."""
        pending.receipt.settle(fate)
        self.cdr.note_im(pending.im, pending.receipt.decision)

    def _refuse(self, pending: Pending, why: str) -> None:
        if pending.receipt.fate is None:
            pending.receipt.settle(Fate("refused", why))
            if pending.im.brought:
                self._recent.pop(pending.im.id, None)

    async def _publish_all(self) -> None:
        while True:
            raise_if_cancelled()
            if not self._may_publish():
                await self._wait_for_work()
                continue
            await self._publisher.connected.wait()
            async with self._numbering.turn:
                refused = not await self._publish_pending()
            if refused:
                await asyncio.sleep(_RETRY_SECONDS)

    def _may_publish(self) -> bool:
        """Whether something is pending, and nothing goes first. What is being written to disk came before."""
        waiting = self._waiting
        first = self._spool.count or waiting.to_disk
        return waiting.has_queued and (not first or self._overtakes())

    async def _wait_for_work(self) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(_QUIET_SECONDS):  # wait_for may lose that this task is cancelled
                await self._wake.wait()
        except TimeoutError:
            if self._publisher.connected.is_set():
                await self._numbering.say()

    async def _publish_pending(self) -> bool:
        """Publish one AMQP message of all that has gathered, up to its limits. False: it was refused."""
        if not self._may_publish():  # what was pending was given up while the broker was away
            return True
        group = self._waiting.begin_publish()
        try:
            await self._numbering.publish([(pending.im, pending.receipt.decision) for pending in group])
        except UnknownError:
            for pending in group:
                self._give_up(pending, "the broker's answer was lost: it may have been archived")
        except RefusedError:
            if self._is_critical():
                self._waiting.put_back()
            else:
                self._spill()
            return False
        else:
            for pending in group:
                if pending.receipt.fate is None:
                    self._settle(pending, CONFIRMED)
        finally:
            self._waiting.under_way = []
        return True

    async def _adopt(self) -> None:
        """Look, now and then, after what front ends left that are no more."""
        while True:
            await asyncio.sleep(_ADOPT_SECONDS)
            if (slot := self._spool.slot) is not None and slot is not self._numbers_in:
                self._numbering.keep_in(slot.folder)
                self._policies.keep_in(slot.folder)
                self._numbers_in = slot
            try:
                await self._adoption.look(adopt=not self._broker_trouble() and not self._spool.count)
            except Exception:  # no IM of ours needs it: whatever it was, it is tried again
                log.exception("left slots can't be looked after")
