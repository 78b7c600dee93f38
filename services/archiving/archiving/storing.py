"""What becomes of a batch: everything that can be stored is committed, the rest is parked with its reason."""

import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

from archiving.archive import POISON, Account, Archive, Numbers, runs_of
from archiving.batch import Batch, read_batch, read_message
from archiving.consumer import Delivery
from archiving.metrics import PARKED, observe_batch
from archiving.parking import Parked
from archiving.rows import join_rows
from archiving.senders import Senders
from archiving.trace import Trace, describe_publishes
from contract.message import IM, milliseconds_of

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
    came: str
    """By which publishes, for the trace."""
    rest: Batch
    """What else there is: statements."""


class Counts(NamedTuple):
    """What became of a batch's IMs."""

    committed: int
    duplicates: int
    parked: int


def prepare_batch(archive: Archive, deliveries: Sequence[Delivery], senders: Senders) -> Prepared | None:
    """Read and pack what some AMQP messages hold, one by one: an IM is packed while it is in the CPU's cache.

    Returns None if not all of it can be stored: ``store_batch`` tells it apart. Raises psycopg.Error if the
    database is away.
    """
    rows: list[bytes] = []
    runs: list[Numbers] = []
    accepted: list[int] = []
    rest = Batch()
    unknown: list[IM] = []
    try:
        for delivery in deliveries:
            batch = read_message(delivery, senders)
            if batch.parked:
                return None
            rest.statements += batch.statements
            rest.announced += batch.announced
            if batch.ims:
                packed, others = archive.names.pack_known(batch.ims)
                rows += packed
                unknown += others
                runs += runs_of(batch.ims)
                accepted += [milliseconds_of(im.id) for im in batch.ims]
                rest.publishes += batch.publishes
        rows += archive.names.pack(unknown)
    except POISON:
        return None
    came = describe_publishes(rest.publishes, archive.names)
    return Prepared(archive, join_rows(rows), archive.account(runs), len(rows), accepted, came, rest)


def store_prepared(prepared: Prepared, trace: Trace) -> bool:
    """Commit a batch; False if it must be told apart: nothing is stored then. Raises psycopg.Error."""
    started = time.monotonic()
    archive, rest = prepared.archive, prepared.rest
    if prepared.ims:
        try:
            archive.append(prepared.rows, prepared.account, trace.enter(prepared.ims, prepared.came))
        except POISON:
            return False
        trace.note_commit()
    _log_statements(archive, rest)
    park_batch(archive, rest)
    if prepared.ims:
        observe_batch(prepared.ims, prepared.ims, started, prepared.accepted)
    return True


def store_batch(archive: Archive, deliveries: Sequence[Delivery], senders: Senders, trace: Trace) -> Counts:
    """Commit what some AMQP messages hold, as IMs or as parked.

    May be done again with the same messages: what is there already stays as it is. Raises psycopg.Error if
    the database is not at our service.
    """
    started = time.monotonic()
    batch = read_batch(deliveries, senders)
    inserted = commit_batch(archive, batch, deliveries)
    park_batch(archive, batch)
    archived = len(batch.ims)
    if archived:
        _log_batch(archive, batch, trace)
        observe_batch(archived, inserted, started, [milliseconds_of(im.id) for im in batch.ims])
    return Counts(inserted, archived - inserted, len(batch.parked))


def _log_batch(archive: Archive, batch: Batch, trace: Trace) -> None:
    entry = trace.enter(len(batch.ims), describe_publishes(batch.publishes, archive.names))
    trace.note_commit()
    try:
        archive.log_batch(entry)
    except POISON as error:
        log.warning("no trace of a batch", extra={"error": repr(error)[:200]})


def commit_batch(archive: Archive, batch: Batch, deliveries: Sequence[Delivery]) -> int:
    """Commit what of a batch can be stored, and move the rest to ``batch.parked``.

    Returns how many IMs were new. Raises psycopg.Error.
    """
    inserted, refused = archive.store_what_can_be(batch.ims)
    for im, reason in refused:
        batch.refuse(im, reason, deliveries)
    _log_statements(archive, batch)
    return inserted


def _log_statements(archive: Archive, batch: Batch) -> None:
    for numbers in batch.announced:
        try:
            archive.expect(numbers)
        except POISON as error:
            log.error("cannot account for missing IMs", extra={"error": repr(error)[:200]})
        else:
            log.error("a message holds fewer IMs than it says", extra={"numbers": numbers})
    for statement, delivery in batch.statements:
        try:
            archive.log_agent(statement)
        except POISON as error:
            batch.parked.append(
                Parked(delivery.body, delivery.properties, f"cannot be stored: {error}", None)
            )


def park_batch(archive: Archive, batch: Batch) -> None:
    """Keep what of a batch cannot be stored, and account for its numbers. Raises psycopg.Error."""
    for parked in batch.parked:
        archive.park(parked)
    PARKED.inc(len(batch.parked))
    for numbers in batch.numbers:
        try:
            archive.store([], [numbers])
        except POISON as error:
            log.error("cannot account for parked IMs", extra={"error": repr(error)[:200]})
