"""Replay: parked IMs and records are stored again on request, once the cause is mended."""

import logging
from collections.abc import Callable
from uuid import UUID

import psycopg

from archiving.delivery import Delivery
from archiving.parked.parking import properties_of, storable

log = logging.getLogger("archiving")


class Replays:
    """The requested replays of one kind, as a session with the database sees them."""

    def __init__(self, connection: psycopg.Connection, kind: str) -> None:
        """``kind``: ``im``, or ``cdr`` for lines of call detail records. A worker replays its own kind."""
        self._connection = connection
        self._kind = kind
        self._lock = "archive.replay" if kind == "im" else f"{kind}.replay"
        self._taken_from: UUID | None = None
        """Incarnation that the last one was taken from: in another its number may be another's."""

    def lock_replays(self) -> bool:
        """Return whether this session alone may replay now."""
        row = self._connection.execute("SELECT pg_try_advisory_lock(hashtext(%s))", [self._lock]).fetchone()
        assert row is not None
        return bool(row[0])

    def unlock_replays(self) -> None:
        """Let another session replay."""
        if not self._connection.closed and not self._connection.broken:
            self._connection.execute("SELECT pg_advisory_unlock(hashtext(%s))", [self._lock])

    def take_replay(self) -> tuple[int, Delivery] | None:
        """Return the next requested replay: its number among the parked, and its message."""
        row = self._connection.execute(
            "SELECT archive.incarnation(), id, body, properties FROM archive.take_replay(%s)", [self._kind]
        ).fetchone()
        assert row is not None
        self._taken_from, number, body, properties = row
        return None if number is None else (number, Delivery(0, 0, properties_of(properties), body))

    def end_replay(self, number: int, failure: str | None) -> None:
        """Store how the replay last taken ended; ``failure``: why something of it could not be stored.

        Raises psycopg.Error, also if the archive was restored meanwhile.
        """
        reason = None if failure is None else storable(failure)
        self._connection.execute(
            "SELECT archive.hold_incarnation(%s), archive.end_replay(%s, %s)",
            [self._taken_from, number, reason],
        )


def replay_each(
    replays: Replays, replay: Callable[[int, Delivery], str | None], is_over: Callable[[], bool]
) -> tuple[int, int]:
    """Replay everything requested; return how many are stored now, and how many are not.

    ``replay`` takes one's number and its message, and returns why not all of it could be stored. Before each
    ``is_over`` tells whether the time is up. One process replays at a time; another returns at once. Raises
    psycopg.Error: those stored stay stored, the next replay tries the rest.
    """
    stored = failed = 0
    if not replays.lock_replays():
        return 0, 0
    try:
        while not is_over() and (marked := replays.take_replay()) is not None:
            number, delivery = marked
            failure = replay(number, delivery)
            replays.end_replay(number, failure)
            log.info("replayed", extra={"parked": number, "failure": failure[:300] if failure else None})
            stored, failed = stored + (failure is None), failed + (failure is not None)
    finally:
        replays.unlock_replays()
    return stored, failed
