"""Reading archived IMs. Nothing is given before the audit trail says to whom."""

import base64
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from psycopg.errors import QueryCanceled
from pydantic import BaseModel, Field
from sqlalchemy import Select, select
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, col

from admin_api import audit
from admin_api.access.bulkheads import DatabaseOf
from admin_api.access.principals import Officer
from admin_api.archive.disclaimers.routes import NoticeSent, find_notices
from admin_api.archive.messages.damage import DAMAGE, read_column_by_column
from admin_api.archive.messages.search import (
    ImId,
    Key,
    Search,
    check_search,
    count_without_text,
    in_order,
    keys_of,
    limit_time,
    parts_of,
)
from admin_api.database import Database
from admin_api.names.looks import IfAny, Look, looks_of
from admin_api.names.people import UNKNOWN, find_unknown
from admin_api.tables.archive import ArchivedMessage
from contract.message import Encoding, Scope, time_of
from runtime.problem import Problem

router = APIRouter(prefix="/v1/messages", tags=["archive"])

MAX_BYTES: Final = 16 << 20
"""Of the IMs in a page: one with large IMs ends before its limit."""
_ON_TIME: Final = timedelta(minutes=1)
_NARROW: Final = "Narrow it by user, conversation, from or to."
_STREAMED: Final = {"stream_results": True, "max_row_buffer": 100}


class Message(BaseModel):
    """An archived IM."""

    id: UUID
    sent_at: datetime
    stored_at: datetime
    sender: str
    recipients: list[str]
    conversation: str
    scope: Scope
    content_type: str
    encoding: Encoding
    body: str | None = Field(
        description="As it was sent, if `encoding` is `text`; else a text made of it for search, or null"
    )
    content: str | None = Field(
        description="The bytes as they were sent, in base64, if `encoding` is `base64`; else null"
    )
    pool: str
    agent: UUID
    seq: int
    policy_version: int
    rule: str
    received_at: datetime | None = Field(
        description="When the front end took it in, by its own clock; null if that was not kept yet"
    )
    late_seconds: float | None = Field(
        description="From `sent_at`, the word of its sender's side, to `received_at`, if that is more than a"
        " minute; negative if it was sent ahead of its time"
    )
    content_encoding: str | None = Field(description="How `content` is compressed, null if it is not")
    encryption: str | None = Field(
        description="With what its sender encrypted or signed it, as far as can be seen; else null"
    )
    spelled: list[str] | None = Field(
        description="Sender and recipients as they came, if one of them is spelled in another way than above"
    )
    looks: IfAny[list[Look]] = Field(
        None, description="Of those people who may look like others, or are written in several scripts"
    )
    damaged: IfAny[list[str]] = Field(
        None, description="Of what the archive can't read any more: the names of the fields. Report it."
    )


class MessagePage(BaseModel):
    """Some IMs; ``next`` is the ``after`` of the page that follows, null on the last.

    A page may have few IMs or none and a ``next`` all the same: then the time for one search was up.
    """

    messages: list[Message]
    next: UUID | None
    without_text: int | None = Field(
        None,
        description="Of a search for a `text`: how many IMs that all other filters match have none, so that"
        " it could not be looked for in them. It is of the whole search, whatever page this is; at most"
        " 10,000; null if counting took too long. The filter `without_text` gives them.",
    )
    unknown: IfAny[list[str]] = Field(None, description=UNKNOWN)
    disclaimers: list[NoticeSent] | None = Field(
        None,
        description="Of the conversation that was asked for: which partners were told that it is archived",
    )


@router.get("")
def search_messages(
    search: Annotated[Search, Query()], request: Request, actor: Officer, database: DatabaseOf
) -> MessagePage:
    """Find archived IMs, a page at a time. Each search is written to the audit trail, with what it gave.

    What takes long to find is looked for as long as one search may take; the answer then is what was found,
    maybe nothing, with a `next` to go on from. Only a search that gets nowhere in that time is answered 503.
    """
    check_search(search)
    unknown = find_unknown(database, search.user, search)
    seconds: float = request.app.state.settings.search_seconds
    detail: dict[str, Any] = {"parameters": search.model_dump(mode="json", by_alias=True, exclude_none=True)}
    with audit.attempt(database, actor, "archive.search", "messages", detail, _NARROW):
        page = _find(database, search, seconds)
    page.unknown = unknown
    if search.text is not None:
        page.without_text = count_without_text(database, search, seconds / 4)
    ids = [message.id for message in page.messages]
    detail |= {
        "count": len(ids),
        "first": str(ids[0]) if ids else None,
        "last": str(ids[-1]) if ids else None,
    }
    if search.text is not None:
        detail["without_text"] = page.without_text
    with database.transaction() as session:
        if search.conversation is not None:
            page.disclaimers = find_notices(session, search.keys).disclaimers
        audit.record(session, actor, "archive.search", "messages", detail=detail)
    return page


@router.get("/{id}")
def get_message(im_id: Annotated[ImId, Path(alias="id")], actor: Officer, database: DatabaseOf) -> Message:
    """Return an archived IM. Each read is written to the audit trail, even if there is no such IM."""
    key = [col(ArchivedMessage.id) == im_id, col(ArchivedMessage.sent_at) == time_of(im_id)]
    with database.transaction() as session:
        keys = session.execute(
            select(col(ArchivedMessage.id), col(ArchivedMessage.sent_at)).where(*key)
        ).all()
        found = list(read_messages(session, keys, select(ArchivedMessage).where(*key)))
        audit.record(session, actor, "archive.read", str(im_id), detail={"count": len(found)})
    if not found:
        raise Problem(404, "There is no such IM in the archive.", field="id")
    return found[0]


def _find(database: Database, search: Search, seconds: float) -> MessagePage:
    """Search part by part until a page is full or the time is up.

    Raises OperationalError (of QueryCanceled) if it got nowhere in that time.
    """
    deadline = time.monotonic() + seconds
    messages: list[Message] = []
    size = 0
    known: UUID | None = None
    """So far everything is found; None: nothing is known yet, or all is."""
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
    """Yield one IM more than a page holds, some of them at a time in memory.

    The keys are found first, and names are looked up for these only. In one statement the planner, which
    takes a time and the ids of that time for two things, would rather look up names first.
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
    """Yield the IMs that a query reads, in its order, which is that of their keys: damaged ones, too."""
    read: set[UUID] = set()
    try:
        with session.begin_nested(), session.scalars(reading, execution_options=_STREAMED) as rows:
            for row in rows:
                message = _message_of(row)
                read.add(row.id)
                yield message
    except DAMAGE:
        for im_id, sent_at in keys:
            if im_id not in read:
                yield _message_of(*read_column_by_column(session, im_id, sent_at))


def _message_of(row: ArchivedMessage, damaged: Sequence[str] = ()) -> Message:
    return Message(
        **row.model_dump(exclude={"content", "recipients"}),
        recipients=list(dict.fromkeys(row.recipients)),
        looks=looks_of(dict.fromkeys([row.sender, *row.recipients])),
        late_seconds=_lateness_of(row),
        encoding="text" if row.content is None else "base64",
        content=None if row.content is None else base64.b64encode(row.content).decode(),
        damaged=list(damaged),
    )


def _lateness_of(row: ArchivedMessage) -> float | None:
    if row.received_at is None or abs(late := row.received_at - row.sent_at) <= _ON_TIME:
        return None
    return late.total_seconds()
