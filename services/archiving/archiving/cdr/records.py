"""Call detail records in the database: a message's lines are stored once; the others are parked."""

import contextlib
import hashlib
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import NAMESPACE_OID, UUID, uuid4, uuid5

import msgspec
from pika.spec import BasicProperties

from archiving.archive import connect
from archiving.cdr.talks import Talks
from archiving.delivery import Delivery
from archiving.evidence import DoubtError, Sieve
from archiving.parked.parking import describe, storable
from archiving.parked.replay import Replays
from archiving.senders import Senders
from contract.address import address_of
from contract.cdr import CDR_TYPE, Activity, decode_activities, decode_activity
from contract.conversation import filed_key

log = logging.getLogger("archiving")

_LOG: Final = "SELECT cdr.log_activities(%s, %s::jsonb, %s)"
_NOTE: Final = "SELECT cdr.note_messages(%s)"
_TALKS: Final = "SELECT cdr.log_talks(%s::jsonb, %s)"
_PARK: Final = "SELECT cdr.park(%s, %s, %s, %s::text::jsonb)"
_UNREADABLE: Final = (ValueError, OverflowError, RecursionError)
"""Errors in reading a body that lie in the body: msgspec's errors are ValueErrors."""


class _Line(NamedTuple):
    """One line of a message, as it came."""

    place: int
    """From 1; 0 for a whole message."""
    body: bytes


class _Read(NamedTuple):
    """A line that can be read."""

    line: _Line
    activity: Activity


class _Refused(NamedTuple):
    """A line that cannot be stored, and the reason."""

    line: _Line
    reason: str


class Records(Replays):
    """A worker's session with the database for call detail records."""

    def __init__(self, url: str, idle: timedelta) -> None:
        """``idle``: after so long single messages are another session. Connects; raises psycopg.Error."""
        super().__init__(connect(url), "cdr")
        self._idle = idle

    def close(self) -> None:
        """End the session."""
        self._connection.close()

    def end_idle(self) -> None:
        """End the sessions in which nothing came for the idle time. Raises psycopg.Error."""
        self._connection.execute("SELECT cdr.end_idle(%s)", [self._idle])

    def most_attempts(self, most: int) -> list[tuple[str, int]]:
        """Return the people with the most attempts of the last hour to talk past the archive, with counts."""
        return self._connection.execute(
            "SELECT address, attempts FROM cdr.most_attempts('1 hour', %s)", [most]
        ).fetchall()

    def rehearse(self) -> None:
        """Store and park something faultless, and roll back. Errors pass through."""
        now = datetime.now(UTC)
        one = Activity(
            conversation=str(uuid4()),
            sender="sip:rehearsal@invalid",
            recipients=("sip:another@invalid",),
            scope="internal",
            pool="rehearsal",
            client="",
            first=now,
            last=now,
            archived=1,
        )
        with self._connection.transaction(force_rollback=True):
            self._log(uuid4(), [one])
            self._connection.execute(_PARK, [uuid4().bytes, "", b"", "{}"])

    def rehearse_with(self, pieces: Sequence[Sequence[Activity]]) -> None:
        """Store activities piece by piece, and roll back. Errors pass through."""
        with self._connection.transaction(force_rollback=True):
            for activities in pieces:
                self._log(uuid4(), activities)

    def store(
        self,
        message: UUID,
        properties: BasicProperties,
        pieces: Sequence[Sequence[Activity]],
        refused: Sequence[_Refused] = (),
    ) -> None:
        """Store a message's activities piece by piece and park its other lines, once however often it comes.

        In one transaction; errors pass through.
        """
        with self._connection.transaction():
            if not self._log(message, pieces[0] if pieces else []):
                return
            for activities in pieces[1:]:
                self._log(uuid4(), activities)
            for each in refused:
                self._park(properties, each)

    def store_all(self, deliveries: Sequence[Delivery], senders: Senders) -> int:
        """Store some messages, each once however often it comes; return how many activities are new.

        In one transaction; errors pass through, and then nothing of it is stored.
        """
        messages: dict[UUID, Delivery] = {}
        for delivery in deliveries:
            messages.setdefault(_id_of(delivery.properties), delivery)
        with self._connection.transaction():
            row = self._connection.execute(_NOTE, [list(messages)]).fetchone()
            assert row is not None
            activities = [activity for new in row[0] for activity in _read(messages[new], senders)]
            self._log_all(activities)
        return len(activities)

    def _log_all(self, activities: Sequence[Activity]) -> None:
        talks = Talks(activities, self._idle)
        row = self._connection.execute(_TALKS, [talks.encode(), self._idle]).fetchone()
        assert row is not None
        talks.release(row[0])
        if talks.singles:
            self._log(uuid4(), talks.singles)

    def replay(self, number: int, delivery: Delivery, senders: Senders) -> str | None:
        """Store a parked message, once; return why nothing of it could be stored.

        Lines of it that cannot be stored are parked again by themselves. Raises psycopg.Error.
        """
        settlement = Settlement(delivery, senders.vouched(), uuid5(NAMESPACE_OID, f"parked {number}"))
        while True:
            try:
                return settlement.settle_parked(self)
            except DoubtError:  # at worst it stays parked
                continue

    def _log(self, message: UUID, activities: Sequence[Activity]) -> bool:
        """Store activities as a message's; return whether it was new."""
        document = msgspec.json.encode(activities).decode()
        row = self._connection.execute(_LOG, (message, document, self._idle)).fetchone()
        return row is not None and bool(row[0])

    def _park(self, properties: BasicProperties, refused: _Refused) -> None:
        (place, body), reason = refused
        key = hashlib.sha256(f"{properties.message_id} {place}\n".encode() + body).digest()
        self._connection.execute(_PARK, [key, storable(reason), body, describe(properties)])
        log.error("parked call detail records", extra={"line": place, "reason": reason[:300]})


class Settlement:
    """Settles a message: its lines that can be stored are, all at once; the others are parked."""

    def __init__(self, delivery: Delivery, senders: Senders, message: UUID | None = None) -> None:
        """``message``: its id, if it is not the one in its properties."""
        self._delivery = delivery
        self._senders = senders
        self._message = message or uuid4()
        self._says_its_id = message is None
        self._tried = False
        self._good: list[list[Activity]] = []
        """Pieces that can be stored one after the other."""
        self._refused: list[_Refused] = []
        self._unread = Sieve([delivery], self._refuse_whole)
        self._lines: Sieve[_Read] | None = None
        self._all = Sieve([delivery], self._refuse_whole)

    def settle(self, records: Records) -> int:
        """Store the message and park the lines that cannot be stored; return how many activities are stored.

        Raises the database's error if nothing at all can be stored, and DoubtError. In both cases the caller
        calls again, with another session, and it goes on from where it was. Nothing is stored twice.
        """
        if not self._tried:
            self._tried = True
            with contextlib.suppress(Exception):  # it is told apart
                activities = _read(self._delivery, self._senders)
                records.store(_id_of(self._delivery.properties), self._delivery.properties, [activities])
                return len(activities)
        self._tell_apart(records)
        self._all.sift(lambda _: self._store(records), lambda _: records.rehearse())
        self._store(records)  # what it could not be stored with is refused now; else it is stored already
        return sum(map(len, self._good))

    def settle_parked(self, records: Records) -> str | None:
        """Store a parked message; return why nothing of it can be stored: then it stays as it is.

        Raises as ``settle``.
        """
        self._tell_apart(records)
        if not self._good and len(self._refused) == 1:
            return self._refused[0].reason
        self._store(records)
        return None

    def _tell_apart(self, records: Records) -> None:
        self._unread.sift(lambda _: self._read_apart(), lambda _: records.rehearse())
        assert self._lines is not None
        self._lines.sift(lambda lines: self._rehearse(records, lines), lambda _: records.rehearse())

    def _read_apart(self) -> None:
        try:
            if self._says_its_id:
                self._message = _id_of(self._delivery.properties)
            lines, refused = _read_apart(self._delivery, self._senders)
        except ValueError as error:
            lines, refused = [], [_Refused(_Line(0, self._delivery.body), str(error))]
        self._refused = refused
        self._lines = Sieve(lines, self._refuse)

    def _rehearse(self, records: Records, lines: Sequence[_Read]) -> None:
        """Find out whether lines can be stored after those that can."""
        piece = [each.activity for each in lines]
        records.rehearse_with([*self._good, piece])
        self._good.append(piece)

    def _store(self, records: Records) -> None:
        records.store(self._message, self._delivery.properties, self._good, self._refused)

    def _refuse(self, read: _Read, reason: str) -> None:
        self._refused.append(_Refused(read.line, reason))

    def _refuse_whole(self, delivery: Delivery, reason: str) -> None:
        self._good, self._refused = [], [_Refused(_Line(0, delivery.body), reason)]
        self._lines = Sieve([], self._refuse)


def _id_of(properties: BasicProperties) -> UUID:
    """Return a message's id, a new one if it has none. Raises ValueError."""
    return UUID(str(properties.message_id)) if properties.message_id else uuid4()


def _read(delivery: Delivery, senders: Senders) -> list[Activity]:
    """Return a message's activities. Raises the errors of ``_UNREADABLE``."""
    _check_type(delivery.properties)
    activities = decode_activities(delivery.body)
    _check_sender(delivery.properties, activities, senders)
    for activity in activities:
        _file(activity)
    return activities


def _read_apart(delivery: Delivery, senders: Senders) -> tuple[list[_Read], list[_Refused]]:
    """Return the lines that can be read, and the others. Raises ValueError if nothing of it is taken."""
    _check_type(delivery.properties)
    lines: list[_Read] = []
    refused: list[_Refused] = []
    for place, body in enumerate(delivery.body.split(b"\n"), 1):
        if not body.strip(b" \t\r"):
            continue
        line = _Line(place, body)
        try:
            lines.append(_Read(line, _file(decode_activity(body))))
        except _UNREADABLE as error:
            refused.append(_Refused(line, f"unreadable: {error}"))
    _check_sender(delivery.properties, [each.activity for each in lines], senders)
    return lines, refused


def _check_type(properties: BasicProperties) -> None:
    if properties.type != CDR_TYPE:
        raise ValueError(f"of type {properties.type!r}, not {CDR_TYPE}")


def _check_sender(properties: BasicProperties, activities: Sequence[Activity], senders: Senders) -> None:
    if refusal := senders.refusal_of(properties, {activity.pool for activity in activities}):
        raise ValueError(refusal)


def _file(activity: Activity) -> Activity:
    """Give people and conversation their present names: earlier front ends named them otherwise.

    Raises OverflowError for a time outside the years 1 to 9999 in UTC, which could not be read again.
    """
    activity.first, activity.last = activity.first.astimezone(UTC), activity.last.astimezone(UTC)
    activity.sender = address_of(activity.sender)
    activity.recipients = tuple(map(address_of, activity.recipients))
    activity.conversation = filed_key(activity.conversation)
    return activity
