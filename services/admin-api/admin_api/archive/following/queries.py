"""Queries that find IMs in the order in which they were committed, each once.

Ids are times, so an IM that is committed late lies behind its id's place. Transactions get their numbers
before they commit, so a reading ends before the oldest transaction that still runs.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final, NamedTuple, Self
from uuid import UUID

from sqlalchemy import Row, Select, or_, select, text
from sqlmodel import Session, col

from admin_api.archive.following.answers import Changes
from admin_api.archive.messages.answers import Message
from admin_api.archive.messages.queries import MAX_BYTES, read_messages
from admin_api.database import Database
from admin_api.tables.archive import ArchivedMessage, MessageOrder
from runtime.problem import Problem

_FIRST_WIDTH: Final = 64
"""Transactions that are searched first. The number grows fourfold as long as they hold too few IMs."""
_AT_A_TIME: Final = 50
_UNORDERED: Final = 0
"""The transaction of IMs archived before transactions were kept. These IMs come first, by their ids."""
_HORIZON: Final = text("SELECT incarnation, before, last_unordered FROM archive.read_horizon()")
_ERAS: Final = text('SELECT first, "end" FROM archive.era_order WHERE "end" > :after ORDER BY number')
_NIL: Final = UUID(int=0)


class Cursor(NamedTuple):
    """A place in the order: after the IM ``id`` of the transaction ``xact``."""

    incarnation: UUID
    xact: int
    id: UUID

    def __str__(self) -> str:
        return f"{self.incarnation.hex}-{self.xact:x}-{self.id.hex}"

    @classmethod
    def parse(cls, cursor: str) -> Self:
        """Return the place that a cursor names. Raises Problem (422)."""
        try:
            incarnation, xact, im_id = cursor.split("-")
            place = cls(UUID(incarnation), int(xact, 16), UUID(im_id))
        except ValueError:
            place = None
        if place is None or str(place) != cursor or place.xact >= 1 << 63:
            raise Problem(422, "This is no `next` of an answer.", field="after")
        return place


_Key = Row[int | None, UUID, datetime]


def find_changes(database: Database, cursor: Cursor | None, limit: int) -> Changes:
    """Return the IMs that were committed after a place in the order; None: from the first IM on.

    Raises Problem (410) if the place is of another archive, which was restored since.
    """
    with database.transaction() as session:
        session.execute(text("SELECT archive.begin_era()"))
    with database.snapshot() as session:
        incarnation, before, last_unordered = session.execute(_HORIZON).one()
        if cursor is None:
            cursor = Cursor(incarnation, _UNORDERED, _NIL)
        elif cursor.incarnation != incarnation:
            raise Problem(410, "The archive was restored since: begin anew, without `after`.", field="after")
        keys = list(_find(session, cursor, before, last_unordered, limit + 1))
        messages: list[Message] = []
        size = 0
        for message in _read(session, keys[:limit]):
            size += len(message.body or "") + len(message.content or "")
            if messages and size > MAX_BYTES:
                break
            messages.append(message)
    more = len(messages) < len(keys)
    if more:
        last = keys[len(messages) - 1]
        cursor = cursor._replace(xact=last.xact or _UNORDERED, id=last.id)
    else:
        cursor = cursor._replace(xact=before, id=_NIL)
    return Changes(messages=messages, next=str(cursor), more=more)


def _find(
    session: Session, cursor: Cursor, before: int, last_unordered: UUID | None, most: int
) -> Iterator[_Key]:
    """Yield the transactions, ids and times of the next IMs, in order, up to the transaction ``before``."""
    xact, im_id = col(MessageOrder.xact), col(MessageOrder.id)
    keys = select(xact, im_id, col(MessageOrder.sent_at))
    if cursor.xact == _UNORDERED and last_unordered is not None:
        unordered = keys.where(xact.is_(None), im_id > cursor.id, im_id <= last_unordered)
        found = session.execute(unordered.order_by(im_id).limit(most)).all()
        yield from found
        most -= len(found)
    for first, end in session.execute(_ERAS, {"after": cursor.xact}).all():
        if not most:
            return
        found = _find_in_era(session, keys, cursor, (first, min(end, before)), most)
        yield from found
        most -= len(found)


def _find_in_era(
    session: Session,
    keys: Select[int | None, UUID, datetime],
    cursor: Cursor,
    era: tuple[int, int],
    most: int,
) -> Sequence[_Key]:
    """Search a few transactions, and more as long as they hold too few IMs.

    No index has IMs in this order: all IMs between two transactions are sorted.
    """
    xact, im_id = col(MessageOrder.xact), col(MessageOrder.id)
    first, end = max(era[0], cursor.xact), era[1]
    width = _FIRST_WIDTH
    while True:
        edge = min(first + width, end)
        some = keys.where(xact >= first, xact < edge, or_(xact > cursor.xact, im_id > cursor.id))
        found = session.execute(some.order_by(xact, im_id).limit(most)).all()
        if len(found) == most or edge == end:
            return found
        width *= 4


def _read(session: Session, keys: Sequence[_Key]) -> Iterator[Message]:
    """Yield IMs in the order of their keys, with only some of them in memory at a time."""
    id_, sent_at = col(ArchivedMessage.id), col(ArchivedMessage.sent_at)
    for place in range(0, len(keys), _AT_A_TIME):
        some = [(key.id, key.sent_at) for key in keys[place : place + _AT_A_TIME]]
        times = [time for _, time in some]
        reading = select(ArchivedMessage).where(id_.in_([im_id for im_id, _ in some]))
        reading = reading.where(sent_at >= min(times), sent_at <= max(times))
        found = {message.id: message for message in read_messages(session, some, reading)}
        yield from (found[im_id] for im_id, _ in some)
