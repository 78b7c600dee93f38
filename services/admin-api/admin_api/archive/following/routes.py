"""Following the archive: IMs in the order in which they were committed, each once.

Ids are times, so what is committed late lies behind them. Transactions' numbers are given out before their
commits, so what is read ends before the oldest transaction that still runs.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Final, NamedTuple, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from sqlalchemy import Row, Select, or_, select, text
from sqlmodel import Session, col

from admin_api import audit
from admin_api.access.bulkheads import DatabaseOf
from admin_api.access.principals import Officer
from admin_api.archive.messages.routes import MAX_BYTES, Message, read_messages
from admin_api.http.fields import Limit
from admin_api.http.openapi import problem
from admin_api.tables.archive import ArchivedMessage, MessageOrder
from runtime.problem import Problem

router = APIRouter(prefix="/v1/messages", tags=["archive"])

_FIRST_WIDTH: Final = 64
"""Transactions that are looked through first; then four times as many, as long as that gives too little."""
_AT_A_TIME: Final = 50
_UNORDERED: Final = 0
"""Stands for the transaction of IMs of before transactions were kept: they come first, by their ids."""
_HORIZON: Final = text("SELECT incarnation, before, last_unordered FROM archive.read_horizon()")
_ERAS: Final = text('SELECT first, "end" FROM archive.era_order WHERE "end" > :after ORDER BY number')
_NIL: Final = UUID(int=0)


class _Cursor(NamedTuple):
    """A place in the order: behind the IM ``id`` of the transaction ``xact``."""

    incarnation: UUID
    xact: int
    id: UUID

    def __str__(self) -> str:
        return f"{self.incarnation.hex}-{self.xact:x}-{self.id.hex}"

    @classmethod
    def parse(cls, cursor: str) -> Self:
        """Raises Problem (422)."""
        try:
            incarnation, xact, im_id = cursor.split("-")
            place = cls(UUID(incarnation), int(xact, 16), UUID(im_id))
        except ValueError:
            place = None
        if place is None or str(place) != cursor or place.xact >= 1 << 63:
            raise Problem(422, "This is no `next` of an answer.", field="after")
        return place


class Changes(BaseModel):
    """Some IMs, as they were committed."""

    messages: list[Message]
    next: str = Field(description="The `after` to go on from, now or when more has come")
    more: bool = Field(description="Whether there is more already")


@router.get("/changes", responses={410: problem("The archive was restored since: begin anew")})
def follow(
    actor: Officer,
    database: DatabaseOf,
    after: Annotated[str | None, Query(max_length=100, description="The `next` of the answer before")] = None,
    limit: Limit = 100,
) -> Changes:
    """Return what was archived since: each IM once, however late it came.

    Without `after` it begins with the first IM. What is committed while an older transaction still runs comes
    when that has ended. An `after` of the archive before it was restored from a backup is answered 410: what
    was read of that one and what is in this one differ, so begin anew. Reads that give IMs are written to the
    audit trail. An IM that is rendered again, or deleted, is no change.
    """
    cursor = None if after is None else _Cursor.parse(after)
    with database.transaction() as session:
        session.execute(text("SELECT archive.begin_era()"))
    with database.snapshot() as session:
        incarnation, before, last_unordered = session.execute(_HORIZON).one()
        if cursor is None:
            cursor = _Cursor(incarnation, _UNORDERED, _NIL)
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
    if messages:
        ids = {"first": str(messages[0].id), "last": str(messages[-1].id)}
        with database.transaction() as session:
            detail = {"after": after, "count": len(messages)} | ids
            audit.record(session, actor, "archive.follow", "messages", detail=detail)
    return Changes(messages=messages, next=str(cursor), more=more)


_Key = Row[int | None, UUID, datetime]


def _find(
    session: Session, cursor: _Cursor, before: int, last_unordered: UUID | None, most: int
) -> Iterator[_Key]:
    """Yield the next IMs' transactions, ids and times, in order, that lie before a transaction."""
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
    cursor: _Cursor,
    era: tuple[int, int],
    most: int,
) -> Sequence[_Key]:
    """Look through a few transactions, and through more as long as there is too little in them.

    No index has IMs in this order: all that lie between two transactions are sorted.
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
    """Yield IMs in the order of their keys, some at a time in memory."""
    id_, sent_at = col(ArchivedMessage.id), col(ArchivedMessage.sent_at)
    for place in range(0, len(keys), _AT_A_TIME):
        some = [(key.id, key.sent_at) for key in keys[place : place + _AT_A_TIME]]
        times = [time for _, time in some]
        reading = select(ArchivedMessage).where(id_.in_([im_id for im_id, _ in some]))
        reading = reading.where(sent_at >= min(times), sent_at <= max(times))
        found = {message.id: message for message in read_messages(session, some, reading)}
        yield from (found[im_id] for im_id, _ in some)
