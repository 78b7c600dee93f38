"""What becomes of a batch: everything that can be stored is committed, the rest is parked with its reason."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pika.spec import BasicProperties

from archiving.archive import Account, Archive, ConflictError
from archiving.batch import Batch, park_unread, read_message
from archiving.delivery import Delivery
from archiving.evidence import DoubtError, Sieve, Thing
from archiving.journal import Journal, describe_publishes
from archiving.metrics import PARKED, observe_batch
from archiving.parked.parking import Parked
from archiving.parked.replay import replay_each
from archiving.ranges import NumberRange, ranges_of
from archiving.rows import join_rows
from archiving.senders import Senders
from contract.message import IM, AgentStatement, milliseconds_of

log = logging.getLogger("archiving")


class Prepared(NamedTuple):
    """A batch that was read and packed ahead, for one archive's sessions, with nothing to be parked."""

    archive: Archive
    rows: bytes
    account: Account
    ims: int
    """How many there are."""
    accepted: list[int]
    """When each of them was: milliseconds since 1970."""
    publishes: str
    """By which publishes the IMs came, for the journal."""
    rest: Batch
    """What else there is: statements."""


class Counts(NamedTuple):
    """What became of a batch's IMs."""

    committed: int
    duplicates: int
    parked: int


def prepare_batch(archive: Archive, deliveries: Sequence[Delivery], senders: Senders) -> Prepared | None:
    """Read and pack what some AMQP messages hold, one by one: an IM is packed while it is in the CPU's cache.

    Returns None if some of it can't be read; raises whatever else is wrong: a ``Settlement`` tells it apart.
    """
    rows: list[bytes] = []
    runs: list[NumberRange] = []
    accepted: list[int] = []
    rest = Batch()
    unknown: list[IM] = []
    for delivery in deliveries:
        batch = read_message(delivery, senders)
        if batch.parked:
            return None
        rest.statements += batch.statements
        rest.promised_ranges += batch.promised_ranges
        if batch.ims:
            packed, others = archive.numbers.pack_known(batch.ims)
            rows += packed
            unknown += others
            runs += ranges_of(batch.ims)
            accepted += [milliseconds_of(im.id) for im in batch.ims]
            rest.publishes += batch.publishes
    rows += archive.numbers.pack(unknown)
    publishes = describe_publishes(rest.publishes, archive.numbers)
    return Prepared(archive, join_rows(rows), archive.account(runs), len(rows), accepted, publishes, rest)


def append_prepared(prepared: Prepared, journal: Journal) -> bool:
    """Commit a batch's IMs; False if nothing is stored: it must be told apart."""
    if prepared.ims:
        started = time.monotonic()
        try:
            prepared.archive.append(
                prepared.rows, prepared.account, journal.enter(prepared.ims, prepared.publishes)
            )
        except Exception as error:  # some are known already, most likely
            log.debug("not appended", extra={"error": repr(error)[:200]})
            return False
        journal.note_commit()
        observe_batch(prepared.ims, prepared.ims, started, prepared.accepted)
    return True


class Settlement:
    """What becomes of a batch: what can be stored is, all else is parked with its reason."""

    def __init__(
        self,
        senders: Senders,
        deliveries: Sequence[Delivery] = (),
        journal: Journal | None = None,
        batch: Batch | None = None,
    ) -> None:
        """``batch``: what was read already, of messages not in ``deliveries``; ``journal`` is told of IMs."""
        self._batch = batch or Batch()
        self._deliveries = deliveries
        self._senders = senders
        self._journal = journal
        self._inserted = 0
        self._conflicting: set[int] = set()
        self._unread = Sieve(deliveries, self._park_unread)
        self._ims: Sieve[IM] | None = None
        self._promised: Sieve[NumberRange]
        self._statements: Sieve[tuple[AgentStatement, Delivery]]
        self._parked: Sieve[Parked] | None = None
        self._parked_ranges: Sieve[NumberRange]
        self._bare: list[Parked] = []

    def settle(self, archive: Archive) -> None:
        """Commit everything, as IMs or as parked; raises as ``store``, and then goes on where it was too."""
        batch = self._batch
        self.store(archive)
        self._enter_in_journal(archive)
        if self._parked is None:
            self._parked = Sieve(batch.parked, self._strip)
            self._parked_ranges = Sieve(batch.parked_ranges, _forgo)
        self._parked.sift(
            _each(archive.park),
            lambda some: archive.rehearse(size=max(len(parked.body) for parked in some)),
        )
        while self._bare:
            archive.park(self._bare[-1])
            self._bare.pop()
        self._parked_ranges.sift(
            lambda some: archive.store([], some),
            lambda some: archive.rehearse(agents=[(each.agent, each.pool) for each in some]),
        )
        PARKED.inc(len(batch.parked))

    @property
    def counts(self) -> Counts:
        """What became of the IMs."""
        return Counts(self._inserted, len(self._batch.ims) - self._inserted, len(self._batch.parked))

    def store(self, archive: Archive) -> None:
        """Commit what can be stored.

        Raises what the database has to say if it stores nothing at all, and DoubtError: in both cases the
        caller comes again, with another session, and it goes on where it was. Nothing is stored twice.
        """
        self._unread.sift(self._read_all, lambda _: archive.rehearse())
        if self._ims is None:
            self._promised = Sieve(self._batch.promised_ranges, _forgo)
            self._statements = Sieve(self._batch.statements, self._refuse_statement)
            self._ims = Sieve(self._batch.ims, self._refuse)
        self._ims.sift(lambda ims: self._store_ims(archive, ims), archive.rehearse)
        self._promised.sift(
            _each(lambda numbers: _expect(archive, numbers)),
            lambda some: archive.rehearse(agents=[(each.agent, each.pool) for each in some]),
        )
        self._statements.sift(
            _each(lambda stated: archive.log_agent(stated[0])),
            lambda some: archive.rehearse(agents=[(each.agent, each.pool) for each, _ in some]),
        )

    @property
    def failure(self) -> str | None:
        """Why not all of it was stored; None if it was."""
        return self._batch.parked[0].reason if self._batch.parked else None

    def _read_all(self, deliveries: Sequence[Delivery]) -> None:
        read = [read_message(delivery, self._senders) for delivery in deliveries]
        for batch in read:
            self._batch.add(batch)

    def _park_unread(self, delivery: Delivery, reason: str) -> None:
        self._batch.add(park_unread(delivery, reason, self._senders))

    def _store_ims(self, archive: Archive, ims: Sequence[IM]) -> None:
        while rest := [im for im in ims if id(im) not in self._conflicting]:
            started = time.monotonic()
            try:
                inserted = archive.store(rest)
            except ConflictError as conflict:
                if not conflict.ims:
                    raise
                for im in conflict.ims:
                    self._conflicting.add(id(im))
                    self._refuse(im, "its id is archived already with another content")
            else:
                self._inserted += inserted
                if self._journal is not None:
                    observe_batch(len(rest), inserted, started, [milliseconds_of(im.id) for im in rest])
                return

    def _enter_in_journal(self, archive: Archive) -> None:
        """Note the batch for the trace, once; without one it is as good."""
        journal, self._journal = self._journal, None
        if journal is None or not self._batch.ims:
            return
        try:
            archive.log_batch(
                journal.enter(
                    len(self._batch.ims), describe_publishes(self._batch.publishes, archive.numbers)
                )
            )
        except Exception as error:  # whoever needs the session next sees what is wrong with it
            log.warning("no trace of a batch", extra={"error": repr(error)[:200]})
        journal.note_commit()

    def _refuse(self, im: IM, reason: str) -> None:
        self._batch.refuse(im, reason, self._deliveries)

    def _refuse_statement(self, stated: tuple[AgentStatement, Delivery], reason: str) -> None:
        delivery = stated[1]
        self._batch.parked.append(Parked(delivery.body, delivery.properties, reason, None))

    def _strip(self, parked: Parked, reason: str) -> None:
        """Have only the body kept, and who sent it, of what cannot be parked as it came."""
        reason = f"its properties are lost, for with them it {reason}; {parked.reason}"
        properties = BasicProperties(type=parked.properties.type, user_id=parked.properties.user_id)
        self._bare.append(Parked(parked.body, properties, reason, None))


def replay_all(
    archive: Archive, senders: Senders, is_over: Callable[[], bool] = lambda: False
) -> tuple[int, int]:
    """Try all IMs whose replay was asked for, as ``replay_each``.

    Who asks vouches for what has no sender; what has a wrong one stays parked.
    """
    return replay_each(archive, lambda _, delivery: _replay(archive, delivery, senders.vouched()), is_over)


def _replay(archive: Archive, delivery: Delivery, senders: Senders) -> str | None:
    """Store what can be; return why not all could."""
    try:
        batch = read_message(delivery, senders)
    except Exception as error:  # as when it was parked
        return f"unreadable: {error!r}"
    batch.promised_ranges.clear()  # a line that was parked alone is less than its message's headers say
    settlement = Settlement(senders, batch=batch)
    while True:
        try:
            settlement.store(archive)
        except DoubtError:  # at worst it stays parked
            continue
        return settlement.failure


def _each(store: Callable[[Thing], None]) -> Callable[[Sequence[Thing]], None]:
    def store_all(things: Sequence[Thing]) -> None:
        for thing in things:
            store(thing)

    return store_all


def _expect(archive: Archive, numbers: NumberRange) -> None:
    archive.expect(numbers)
    log.error("a message holds fewer IMs than it says", extra={"numbers": numbers})


def _forgo(numbers: NumberRange, reason: str) -> None:
    log.error("cannot account for IMs", extra={"numbers": numbers, "error": reason[:200]})
