"""Call detail records in the database: all of a message that can be stored is, once; the rest is parked."""

import hashlib
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import NAMESPACE_OID, UUID, uuid4, uuid5

import msgspec
import psycopg
from pika.spec import BasicProperties

from archiving.archive import connect
from archiving.consumer import Delivery
from archiving.evidence import IN_THINGS
from archiving.parking import Replays, describe, storable
from archiving.senders import Senders
from contract.address import address_of
from contract.cdr import CDR_TYPE, Activity, decode_activities, decode_activity
from contract.conversation import filed_key

log = logging.getLogger("archiving")

_LOG: Final = "SELECT cdr.log_activities(%s, %s::jsonb, %s)"
_PARK: Final = "SELECT cdr.park(%s, %s, %s, %s::text::jsonb)"
_TIMES: Final = 8
"""Failures, each in a session of its own, until an error that may be a moment's is told apart."""
_UNREADABLE: Final = (ValueError, OverflowError, RecursionError)
"""What reading raises that lies in what is read: msgspec's errors are ValueErrors."""


class _Line(NamedTuple):
    """One line of a message, as it came."""

    place: int
    """From 1; 0 for a whole message."""
    body: bytes


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
        return self._connection.execute("SELECT * FROM cdr.most_attempts('1 hour', %s)", [most]).fetchall()

    def count_parked(self) -> int:
        """Return how many lines are parked. Raises psycopg.Error."""
        row = self._connection.execute("SELECT cdr.count_parked()").fetchone()
        assert row is not None
        return int(row[0])

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

    def store(self, delivery: Delivery, senders: Senders, times: int = 0) -> int:
        """Store what a message holds and park what can't be, in one transaction, once however often it comes.

        ``times``: how often it failed though a rehearsal went well. After some its lines are told apart
        whatever the error is, after as many again it is parked whole. Returns how many activities were
        stored. Raises what fails.
        """
        if times < _TIMES:
            try:
                message, activities = _id_of(delivery.properties), _read(delivery, senders)
                self._log(message, activities)
            except IN_THINGS:
                pass
            else:
                return len(activities)
        with self._connection.transaction():
            if times < 2 * _TIMES:
                blamed = IN_THINGS if times < _TIMES else (Exception,)
                stored, refused = self._store_apart(None, delivery, senders, blamed)
            else:
                whole = _Refused(_Line(0, delivery.body), "cannot be stored, though others can")
                stored, refused = 0, [whole] if self._log(_id_of(delivery.properties), []) else []
            for each in refused:
                self._park(delivery.properties, each)
        return stored

    def replay(self, number: int, delivery: Delivery, senders: Senders) -> str | None:
        """Store what is parked under a number, once; return why nothing of it could be.

        Of what holds several lines, those that can't be stored are parked anew by themselves. Raises
        psycopg.Error.
        """
        message = uuid5(NAMESPACE_OID, f"parked {number}")
        with self._connection.transaction() as transaction:
            stored, refused = self._store_apart(message, delivery, senders.vouched(), IN_THINGS)
            if not stored and len(refused) == 1:
                raise psycopg.Rollback(transaction)
            for each in refused:
                self._park(delivery.properties, each)
            return None
        return refused[0].reason

    def _store_apart(
        self,
        message: UUID | None,
        delivery: Delivery,
        senders: Senders,
        blamed: tuple[type[Exception], ...],
    ) -> tuple[int, list[_Refused]]:
        """Store what can be, within a transaction; return how many activities that is, and the rest.

        ``message``: its id if it is another than the one it says; ``blamed``: errors that lie in a line, if a
        rehearsal goes well.
        """
        whole = _Line(0, delivery.body)
        try:
            message = message or _id_of(delivery.properties)
            lines, refused = _read_apart(delivery, senders)
        except ValueError as error:
            return 0, [_Refused(whole, str(error))]
        if not self._log(message, []):
            return 0, []  # it is in already
        refused_by_the_database = self._log_by_halves(lines, blamed)
        if refused_by_the_database:
            self.rehearse()
        return len(lines) - len(refused_by_the_database), refused + refused_by_the_database

    def _log_by_halves(
        self, lines: Sequence[tuple[_Line, Activity]], blamed: tuple[type[Exception], ...]
    ) -> list[_Refused]:
        """Store activities, by halves where the database refuses some; return those."""
        try:
            with self._connection.transaction():  # a savepoint
                self._log(uuid4(), [activity for _, activity in lines])
        except blamed as error:
            if len(lines) <= 1:
                return [_Refused(line, f"cannot be stored: {error}") for line, _ in lines]
            half = len(lines) // 2
            return self._log_by_halves(lines[:half], blamed) + self._log_by_halves(lines[half:], blamed)
        return []

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


def _read_apart(delivery: Delivery, senders: Senders) -> tuple[list[tuple[_Line, Activity]], list[_Refused]]:
    """Return the lines that can be read, and the others. Raises ValueError if nothing of it is taken."""
    _check_type(delivery.properties)
    lines: list[tuple[_Line, Activity]] = []
    refused: list[_Refused] = []
    for place, body in enumerate(delivery.body.split(b"\n"), 1):
        if not body.strip(b" \t\r"):
            continue
        line = _Line(place, body)
        try:
            lines.append((line, _file(decode_activity(body))))
        except _UNREADABLE as error:
            refused.append(_Refused(line, f"unreadable: {error}"))
    _check_sender(delivery.properties, [activity for _, activity in lines], senders)
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
