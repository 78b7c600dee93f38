"""Call detail records in the database: all of a message that can be stored is, once; the rest is parked."""

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
"""What reading raises that lies in what is read: msgspec's errors are ValueErrors."""


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
    """What cannot be stored, and why."""

    line: _Line
    reason: str


class Records(Replays):
    """What one worker has with the database for call detail records."""

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
        """Return who tried most in the last hour to talk past the archive, and how often."""
        return self._connection.execute(
            "SELECT address, attempts FROM cdr.most_attempts('1 hour', %s)", [most]
        ).fetchall()

    def rehearse(self) -> None:
        """Store and park what nothing is wrong with, and take it back. Raises what fails."""
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
        """Store activities piece by piece, and take them back. Raises what fails."""
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
        """Store a message's activities piece by piece and park the rest of it, once however often it comes.

        In one transaction; raises what fails.
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

        In one transaction; raises what fails, and then nothing of it is stored.
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
        """Store what is parked under a number, once; return why nothing of it could be.

        Of what holds several lines, those that can't be stored are parked anew by themselves. Raises
        psycopg.Error.
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
        """``message``: its id, if it is another than the one it says."""
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
        """Store the message and park what can't be stored; return how many activities are stored.

        Raises what the database has to say if it stores nothing at all, and DoubtError: in both cases the
        caller comes again, with another session, and it goes on where it was. Nothing is stored twice.
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
        """Do so with what is parked; return why nothing of it can be stored: then it stays as it is.

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
    """Return a message's id, or a new one if it has none. Raises ValueError."""
    return UUID(str(properties.message_id)) if properties.message_id else uuid4()


def _read(delivery: Delivery, senders: Senders) -> list[Activity]:
    """Return a message's activities. Raises what ``_UNREADABLE`` names."""
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
    """Name people and conversation as today: older front ends named them otherwise.

    Raises OverflowError for a time that is in UTC of no year from 1 to 9999: nobody could read it again.
    """
    activity.first, activity.last = activity.first.astimezone(UTC), activity.last.astimezone(UTC)
    activity.sender = address_of(activity.sender)
    activity.recipients = tuple(map(address_of, activity.recipients))
    activity.conversation = filed_key(activity.conversation)
    return activity
