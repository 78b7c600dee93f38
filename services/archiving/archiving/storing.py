"""Storing a batch: the fast way for new IMs, and the careful way for all else.

Fast: ``prepare_batch``, then ``append_prepared``. Careful: a ``Settlement`` stores everything that can be
stored, and parks the rest with its reason.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pika.spec import BasicProperties

from archiving.archive import Account, Archive, ConflictError
from archiving.batch import Batch, park_unread, read_message
from archiving.delivery import Delivery
from archiving.evidence import DoubtError, Item, Sieve
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
    """A batch read and packed ahead for one archive's sessions, with nothing to be parked."""

    archive: Archive
    rows: bytes
    account: Account
    ims: int
    """Count of IMs."""
    accepted: list[int]
    """Time at which each was accepted: milliseconds since 1970."""
    publishes: str
    """By which publishes the IMs came, for the journal."""
    rest: Batch
    """The batch but for its IMs: statements, promised ranges, publishes."""


class Counts(NamedTuple):
    """Counts of a batch's IMs by their fate."""

    committed: int
    duplicates: int
    parked: int


def prepare_batch(archive: Archive, deliveries: Sequence[Delivery], senders: Senders) -> Prepared | None:
    """Read and pack deliveries, one by one: an IM is packed while it is in the CPU's cache.

    Return None if some of them cannot be read. Other errors pass through; a ``Settlement`` then tells the IMs
    apart.
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
    """Commit a batch's IMs; return False if nothing is stored: a ``Settlement`` must tell them apart."""
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
    """Settles a batch: stores everything that can be stored, parks the rest, each with its reason."""

    def __init__(
        self,
        senders: Senders,
        deliveries: Sequence[Delivery] = (),
        journal: Journal | None = None,
        batch: Batch | None = None,
    ) -> None:
        """``batch``: already read, of messages not in ``deliveries``; ``journal`` notes the batch of IMs."""
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
        """Store everything, as IMs or as parked. Raises as ``store``, and goes on if called again."""
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
        """Return the counts of the IMs by their fate."""
        return Counts(self._inserted, len(self._batch.ims) - self._inserted, len(self._batch.parked))

    def store(self, archive: Archive) -> None:
        """Store everything that can be stored as IMs and statements.

        Raises the database's error if nothing at all can be stored, and DoubtError. In both cases the caller
        calls again, with another session, and it goes on from where it was. Nothing is stored twice.
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
        """Return why not all of it was stored; None if it was."""
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
        """Enter the batch in the journal, once. The archive is as complete without an entry."""
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
        """Keep only the body and the sender of a message that cannot be parked with all its properties."""
        reason = f"its properties are lost, for with them it {reason}; {parked.reason}"
        properties = BasicProperties(type=parked.properties.type, user_id=parked.properties.user_id)
        self._bare.append(Parked(parked.body, properties, reason, None))


def replay_all(
    archive: Archive, senders: Senders, is_over: Callable[[], bool] = lambda: False
) -> tuple[int, int]:
    """Replay all IMs requested, as ``replay_each``.

    Requesting it vouches for messages without a sender; one with a wrong sender stays parked.
    """
    return replay_each(archive, lambda _, delivery: _replay(archive, delivery, senders.vouched()), is_over)


def _replay(archive: Archive, delivery: Delivery, senders: Senders) -> str | None:
    """Store the message's IMs that can be stored; return why not all could."""
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


def _each(store: Callable[[Item], None]) -> Callable[[Sequence[Item]], None]:
    def store_all(items: Sequence[Item]) -> None:
        for item in items:
            store(item)

    return store_all


def _expect(archive: Archive, numbers: NumberRange) -> None:
    archive.expect(numbers)
    log.error("a message holds fewer IMs than it says", extra={"numbers": numbers})


def _forgo(numbers: NumberRange, reason: str) -> None:
    log.error("cannot account for IMs", extra={"numbers": numbers, "error": reason[:200]})
