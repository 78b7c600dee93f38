"""Safekeeping: brings IMs to a safe place, the broker's confirm or this front end's disk.

One AMQP message at a time is on its way to its confirm; IMs that arrive meanwhile make the next one
(docs/decisions/0002). In a pool that isn't critical the spool takes IMs that the broker can't. Spooled IMs go
first, so IMs keep their order, unless they must not wait (docs/decisions/0008).
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from uuid import UUID

from frontend.config import FrontEndSettings
from frontend.im import CheckedIM
from frontend.metrics import DISK_TROUBLE, PENDING
from frontend.numbering import Numbering
from frontend.policy.policies import Policies
from frontend.publisher import Publisher, RefusedError, UnknownError
from frontend.receipt import CONFIRMED, SPOOLED, Fate, Receipt
from frontend.situation import Situation
from frontend.spool.adoption import Adoption
from frontend.spool.sender import Sender
from frontend.spool.spool import Spool, SpoolError
from frontend.state import State, begin_state, note_state
from frontend.waiting import Lane, Pending, Waiting
from frontend.witness import Witness
from runtime.broker_connection import raise_if_cancelled
from runtime.token import Connector

if TYPE_CHECKING:  # OpenTelemetry is loaded only where it is used
    from frontend.spans import Tracing

log = logging.getLogger("frontend")

_SLOW: Final = "the broker did not confirm in time"
_SWEEP_SECONDS: Final = 0.05
_RETRY_SECONDS: Final = 0.05
_QUIET_SECONDS: Final = 1.0
_ADOPT_SECONDS: Final = 10.0


class Safekeeping:
    """Numbers and publishes IMs, or has them spooled; settles their receipts."""

    def __init__(
        self,
        settings: FrontEndSettings,
        policies: Policies,
        publisher: Publisher,
        spool: Spool,
        tracing: "Tracing | None",
        connectors: int,
        note: Callable[[Pending], None],
    ) -> None:
        """``connectors``: how many there are. ``note`` is called with each IM whose fate is known.

        How far the numbers got is kept beside the spool.
        """
        self._settings = settings
        self._policies = policies
        self._publisher = publisher
        self._spool = spool
        self._note = note
        self._numbering = Numbering(settings, publisher, spool.slot.folder if spool.slot else None, tracing)
        self._witness = Witness(settings, self._numbering)
        self._numbers_in = spool.slot
        self._adoption = Adoption(settings.pool, spool, self._numbering)
        self._wake = asyncio.Event()
        self._sender = Sender(settings, self._spool, self._numbering, publisher, self._wake.set)
        self._waiting = Waiting(settings, max(1, connectors))
        self._state = begin_state()

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
        """Why policy, spool or numbers can't be kept on disk; empty while they can."""
        return self._spool.trouble or self._spool.stuck or self._numbering.disk_trouble

    @property
    def left(self) -> dict[str, str]:
        """Slots of the state folder that need an operator, and why."""
        return {name: left.why for name, left in self._adoption.left.items()}

    @property
    def situation(self) -> Situation:
        """The facts of this moment; without a policy the pool may be critical, so it is taken for that."""
        policy = self._policies.current
        connected = self._publisher.connected.is_set()
        return Situation(
            policy is None or policy.pool(self._settings.pool).critical,
            self._numbering.trouble if connected else self._publisher.trouble,
            self._spool.trouble,
            self._spool.stuck,
            self._spool.count,
            bool(self._waiting.to_disk),
            self._adoption.waits,
        )

    def note_state(self) -> State:
        """Return this front end's state now; one that is new is logged and counted."""
        before, self._state = self._state, self._state.follow(*self.situation.state)
        if self._state is not before:
            note_state(self._state, before)
        return self._state

    def lane_of(self, connector: Connector) -> Lane:
        """Return a connector's lane."""
        return self._waiting.lane(connector.name)

    def keep(self, im: CheckedIM, receipt: Receipt, lane: Lane) -> None:
        """Take an IM for which its lane has room; its receipt is settled once it is safe or refused."""
        pending = Pending(im, receipt, time.monotonic() + self._settings.deadline_seconds, lane)
        if self.situation.route == "spool":
            self._spill()
            self._put_to_disk(pending)
        else:
            self._waiting.add(pending)
            self._wake.set()

    async def run(self) -> None:
        """Make IMs safe, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._spool.run())
                group.create_task(self._sweep())
                group.create_task(self._publish_all())
                group.create_task(self._sender.run())
                group.create_task(self._adopt())
                group.create_task(self._witness.run())
        finally:
            self._spool.close()

    async def drain(self) -> None:
        """Wait until every receipt is settled; then publish the last statement and tell the witness.

        Spooled IMs stay on disk, for the next process.
        """
        for pending in self._waiting:
            await pending.receipt.settled()
        await self._numbering.publish_last_statement()
        await self._witness.tell_last()

    def _spill(self) -> None:
        """Hand all IMs that wait for the broker to the spool: they came before the next one."""
        for pending in self._waiting.under_way:
            self._give_up(pending, "")
        while self._waiting.has_queued:
            self._give_up(self._waiting.take_first(), "")

    def _put_to_disk(self, pending: Pending) -> None:
        pending.to_disk = True
        pending.deadline = time.monotonic() + self._settings.deadline_seconds
        try:
            written = self._spool.put(pending.im, pending.receipt.decision, pending.receipt)
        except SpoolError as error:
            self._refuse(pending, str(error))
            return
        pending.written = written
        self._waiting.begin_write(pending)

        def note(written: "asyncio.Future[None]") -> None:
            self._waiting.end_write(pending)
            if (error := written.exception()) is not None:
                self._refuse(pending, str(error))
            elif pending.receipt.fate is None:
                self._settle(pending, SPOOLED)
            self._wake.set()

        written.add_done_callback(note)

    async def _sweep(self) -> None:
        """Give up IMs whose deadline has come, and note the state."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = time.monotonic()
            PENDING.set(self._waiting.queued)
            for pending in self._waiting.under_way:  # the oldest first
                if pending.deadline <= now:
                    self._give_up(pending, _SLOW)
            for pending in self._waiting.take_late(now):
                self._give_up(pending, self.situation.broker_trouble or _SLOW)
            for pending in self._waiting.find_unwritten(now):
                self._refuse(pending, "the spool's disk did not answer in time")
                self._waiting.to_disk.discard(pending)
            DISK_TROUBLE.set(bool(self.disk_trouble))
            self.note_state()

    def _give_up(self, pending: Pending, why: str) -> None:
        """Have an IM wait for the broker no longer."""
        if pending.receipt.fate is not None or pending.to_disk:
            return
        if self.situation.fallback == "refuse":
            self._refuse(pending, why)
        else:
            self._put_to_disk(pending)

    def _settle(self, pending: Pending, fate: Fate) -> None:
        pending.receipt.settle(fate)
        self._note(pending)

    def _refuse(self, pending: Pending, why: str) -> None:
        if pending.receipt.fate is None:
            self._settle(pending, Fate("refused", why))

    async def _publish_all(self) -> None:
        while True:
            raise_if_cancelled()
            if not self._may_publish():
                await self._wait_for_work()
                continue
            await self._publisher.connected.wait()
            async with self._numbering.publish_lock:
                refused = not await self._publish_pending()
            if refused:
                await asyncio.sleep(_RETRY_SECONDS)
            elif self._numbering.owes_statement:
                await self._numbering.publish_statements()

    def _may_publish(self) -> bool:
        return self._waiting.has_queued and not self.situation.holds_queue

    async def _wait_for_work(self) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(_QUIET_SECONDS):  # wait_for may lose that this task is cancelled
                await self._wake.wait()
        except TimeoutError:
            if self._publisher.connected.is_set():
                await self._numbering.publish_statements()

    async def _publish_pending(self) -> bool:
        """Publish one AMQP message of the queued IMs, up to its limits; return False if it was refused."""
        if not self._may_publish():  # what was pending was given up while the broker was away
            return True
        group = self._waiting.begin_publish()
        try:
            await self._numbering.publish([(pending.im, pending.receipt.decision) for pending in group])
        except UnknownError:
            for pending in group:
                self._give_up(pending, "the broker's answer was lost: it may have been archived")
        except RefusedError:
            if self.situation.fallback == "refuse":
                self._waiting.put_back()
            else:
                self._spill()
            return False
        else:
            self._numbering.note_late(
                [each.receipt.fate is not None or (each.to_disk and each.on_disk) for each in group]
            )
            for pending in group:
                if pending.receipt.fate is None:
                    self._settle(pending, CONFIRMED)
        finally:
            self._waiting.under_way = []
        return True

    async def _adopt(self) -> None:
        """Adopt, now and then, the spools and agents of front ends that do not come back."""
        while True:
            await asyncio.sleep(_ADOPT_SECONDS)
            if (slot := self._spool.slot) is not None and slot is not self._numbers_in:
                self._numbering.keep_in(slot.folder)
                self._policies.keep_in(slot.folder)
                self._numbers_in = slot
            try:
                await self._adoption.look(adopt=self.situation.is_at_leisure)
            except Exception:  # no IM of ours needs it: whatever it was, it is tried again
                log.exception("left slots can't be looked after")
