"""Queries that read archived IMs."""

import time
from collections.abc import Generator, Sequence
from contextlib import closing
from datetime import datetime
from typing import Final
from uuid import UUID

from psycopg.errors import QueryCanceled
from sqlalchemy import Select, select
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, col

from admin_api.archive.messages.answers import Message, MessagePage, message_of
from admin_api.archive.messages.damage import DAMAGE, read_column_by_column
from admin_api.archive.messages.search import (
    Key,
    Search,
    in_order,
    keys_of,
    limit_time,
    parts_of,
)
from admin_api.database import Database
from admin_api.tables.archive import ArchivedMessage
from contract.message import time_of

MAX_BYTES: Final = 16 << 20
"""Bytes of a page's IMs: a page with large IMs ends before its limit."""
_STREAMED: Final = {"stream_results": True, "max_row_buffer": 100}


def find_page(database: Database, search: Search, seconds: float) -> MessagePage:
    """Search part by part until a page is full or the time is up.

    Raises OperationalError (of QueryCanceled) if no part was finished in that time.
    """
    deadline = time.monotonic() + seconds
    messages: list[Message] = []
    size = 0
    known: UUID | None = None
    """Every IM up to this id has been searched. None before the first result, and at the end."""
    try:
        for part, rest in parts_of(database, search, seconds):
            with database.transaction() as session, closing(_read(session, part, deadline)) as found:
                for message in found:
                    size += len(message.body or "") + len(message.content or "")
                    if messages and (len(messages) == search.limit or size > MAX_BYTES):
                        return MessagePage(messages=messages, next=messages[-1].id)
                    messages.append(message)
                    known = message.id
            known = rest
            if len(messages) == search.limit or time.monotonic() > deadline:
                break
    except OperationalError as error:
        if known is None or not isinstance(error.orig, QueryCanceled):
            raise
    return MessagePage(messages=messages, next=known)


def _read(session: Session, search: Search, deadline: float) -> Generator[Message]:
    """Yield one IM more than a page holds, with only some of them in memory at a time.

    The keys are found first, and names are looked up for these only. In one statement the planner would look
    up names first: it does not know that a time and the ids of that time select the same rows.
    """
    limit_time(session, deadline - time.monotonic())
    keys = _find_keys(session, search)
    if not keys:
        return
    id_, sent_at = col(ArchivedMessage.id), col(ArchivedMessage.sent_at)
    times = [key.sent_at for key in keys]
    reading = select(ArchivedMessage).where(id_.in_([key.id for key in keys])).order_by(in_order(id_, search))
    reading = reading.where(sent_at >= min(times), sent_at <= max(times))
    yield from read_messages(session, keys, reading)


def find_message(session: Session, im_id: UUID) -> Message | None:
    """Return an IM, damaged or not; None if there is none."""
    key = [col(ArchivedMessage.id) == im_id, col(ArchivedMessage.sent_at) == time_of(im_id)]
    keys = session.execute(select(col(ArchivedMessage.id), col(ArchivedMessage.sent_at)).where(*key)).all()
    found = list(read_messages(session, keys, select(ArchivedMessage).where(*key)))
    return found[0] if found else None


def _find_keys(session: Session, search: Search) -> Sequence[Key]:
    """Return the keys of one IM more than a page holds, in order."""
    query = keys_of(session, search)
    if query is None:
        return []
    try:
        with session.begin_nested():
            return session.execute(query).all()
    except DAMAGE:
        if search.text is None:
            raise
        query = keys_of(session, search, unreadable=True)
        return [] if query is None else session.execute(query).all()


def read_messages(
    session: Session,
    keys: Sequence[Key] | Sequence[tuple[UUID, datetime]],
    reading: Select[ArchivedMessage],
) -> Generator[Message]:
    """Yield the IMs that a query reads, in the order of their keys, including damaged ones."""
    read: set[UUID] = set()
    try:
        with session.begin_nested(), session.scalars(reading, execution_options=_STREAMED) as rows:
            for row in rows:
                message = message_of(row)
                read.add(row.id)
                yield message
    except DAMAGE:
        for im_id, sent_at in keys:
            if im_id not in read:
                yield message_of(*read_column_by_column(session, im_id, sent_at))
