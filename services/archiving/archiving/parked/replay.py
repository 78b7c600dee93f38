"""Replay: what is parked and somebody asked to be tried again, once the cause is mended."""

import logging
from collections.abc import Callable

from archiving.archive import Archive
from archiving.batch import read_message
from archiving.delivery import Delivery
from archiving.evidence import DoubtError
from archiving.parked.parking import Replays
from archiving.senders import Senders
from archiving.storing import Settlement

log = logging.getLogger("archiving")


def replay_all(
    archive: Archive, senders: Senders, is_over: Callable[[], bool] = lambda: False
) -> tuple[int, int]:
    """Try all IMs whose replay was asked for, as ``replay_each``.

    Who asks vouches for what has no sender; what has a wrong one stays parked.
    """
    return replay_each(archive, lambda _, delivery: _replay(archive, delivery, senders.vouched()), is_over)


def replay_each(
    replays: Replays, replay: Callable[[int, Delivery], str | None], is_over: Callable[[], bool]
) -> tuple[int, int]:
    """Try everything whose replay was asked for; return how many are stored now, and how many are not.

    ``replay`` is given one's number and what came, and returns why not all of it could be stored. ``is_over``
    is asked before each whether there is time for it. One process does it at a time; another returns at once.
    Raises psycopg.Error if the database is not at our service: what was stored stays stored, the rest is
    tried by the next.
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


def _replay(archive: Archive, delivery: Delivery, senders: Senders) -> str | None:
    """Store what can be; return why not all could."""
    try:
        batch = read_message(delivery, senders)
    except Exception as error:  # as when it was parked
        return f"unreadable: {error!r}"
    batch.announced.clear()  # a line that was parked alone is less than its message's headers say
    settlement = Settlement(senders, batch=batch)
    while True:
        try:
            settlement.commit(archive)
        except DoubtError:  # at worst it stays parked
            continue
        return settlement.failure
