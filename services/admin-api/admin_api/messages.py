"""Reading archived IMs. Nothing is given before the audit trail says to whom."""

import base64
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from psycopg.errors import QueryCanceled
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from sqlalchemy import ColumnElement, Select, func, or_, select, true
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Mapped
from sqlmodel import Session, col

from admin_api import audit
from admin_api.conversations import ConversationFilter
from admin_api.database import Database, DatabaseOf
from admin_api.disclaimers import NoticeSent, find_notices
from admin_api.fields import Address, Text
from admin_api.principals import Officer
from admin_api.tables import ArchivedConversation, ArchivedMessage, ArchivedParticipant, ArchivedUser
from contract.message import Encoding, Scope, milliseconds_of, time_at, time_of
from contract.problem import Problem

router = APIRouter(prefix="/v1/messages", tags=["archive"])

_MAX_BYTES: Final = 16 << 20
"""Of the IMs in a page: one with large IMs ends before its limit."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE_MS: Final = 60_000
_ON_TIME: Final = timedelta(minutes=1)
_DAY_MS: Final = 24 * 60 * _MINUTE_MS
_LAST_MS: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
_LAST_IN_MS: Final = 0xFFF << 64 | (1 << 62) - 1
"""All that is random in a UUIDv7, at its highest."""
_NARROW: Final = "Narrow it by user, conversation, from or to."
_STREAMED: Final = {"stream_results": True, "max_row_buffer": 100}

Keys = Select[UUID, datetime]


def _uuid7(im_id: UUID) -> UUID:
    time_of(im_id)
    return im_id


def _iso8601(text: object) -> object:
    if isinstance(text, str) and "T" not in text.upper():  # "2026" would else be seconds since 1970
        raise ValueError("write a time as 2026-01-31T08:00:00Z")
    return text


ImId = Annotated[UUID, AfterValidator(_uuid7)]
Time = Annotated[AwareDatetime, BeforeValidator(_iso8601)]


class Search(ConversationFilter):
    """What is looked for: all that is given must be true of an IM."""

    model_config = ConfigDict(extra="forbid")  # a filter misspelt must not give everything

    user: Address | None = Field(None, description="Sender or recipient", examples=["sip:yannis@contoso.com"])
    from_: Time | None = Field(None, alias="from", examples=["2026-01-31T08:00:00Z"])
    to: Time | None = Field(None, description="Exclusive", examples=["2026-02-01T00:00:00Z"])
    received_from: Time | None = Field(None, description="Taken in by a front end then or later")
    received_to: Time | None = Field(None, description="Exclusive")
    text: Text | None = Field(None, description="Contained in the text of an IM, in upper or lower case")
    after: ImId | None = Field(None, description="The `next` of the page before")
    order: Literal["desc", "asc"] = Field("desc", description="By time: newest first, or oldest first")
    limit: int = Field(100, ge=1, le=1000, description="How many at most")


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


class MessagePage(BaseModel):
    """Some IMs; ``next`` is the ``after`` of the page that follows, null on the last.

    A page may have few IMs or none and a ``next`` all the same: then the time for one search was up.
    """

    messages: list[Message]
    next: UUID | None
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
    seconds: float = request.app.state.settings.search_seconds
    detail: dict[str, Any] = {"parameters": search.model_dump(mode="json", by_alias=True, exclude_none=True)}
    with audit.attempt(database, actor, "archive.search", "messages", detail, _NARROW):
        page = _find(database, search, seconds)
    ids = [message.id for message in page.messages]
    detail |= {
        "count": len(ids),
        "first": str(ids[0]) if ids else None,
        "last": str(ids[-1]) if ids else None,
    }
    with database.transaction() as session:
        if search.conversation is not None:
            page.disclaimers = find_notices(session, search.keys).disclaimers
        audit.record(session, actor, "archive.search", "messages", detail=detail)
    return page


@router.get("/{id}")
def get_message(im_id: Annotated[ImId, Path(alias="id")], actor: Officer, database: DatabaseOf) -> Message:
    """Return an archived IM. Each read is written to the audit trail, even if there is no such IM."""
    query = select(ArchivedMessage).where(
        col(ArchivedMessage.id) == im_id, col(ArchivedMessage.sent_at) == time_of(im_id)
    )
    with database.transaction() as session:
        row = session.scalars(query).one_or_none()
        audit.record(session, actor, "archive.read", str(im_id), detail={"count": 0 if row is None else 1})
    if row is None:
        raise Problem(404, "There is no such IM in the archive.", field="id")
    return _message_of(row)


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
        for part, rest in _parts_of(database, search, seconds):
            with database.transaction() as session, closing(_read(session, part, deadline)) as found:
                for message in found:
                    size += len(message.body or "") + len(message.content or "")
                    if messages and (len(messages) == search.limit or size > _MAX_BYTES):
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


def _parts_of(database: Database, search: Search, seconds: float) -> Iterator[tuple[Search, UUID | None]]:
    """Yield searches that together are this one, in order, each with the ``after`` of what follows it.

    No index finds a text, and none a user's IMs in order, nor what was taken in at a time. So these are
    searched for by times: first a short one, and longer ones as long as that takes a small part of the time
    for all.
    """
    if not (search.user or search.text or search.received_from or search.received_to):
        yield search, None
        return
    width_ms = _MINUTE_MS if search.user is None and search.conversation is None else _DAY_MS
    nearest = _nearest(database, search)
    while nearest is not None:
        part, rest = _first_part(search, milliseconds_of(nearest), width_ms)
        search = search.model_copy(update={"after": rest})
        nearest = None if rest is None else _nearest(database, search)
        started = time.monotonic()
        yield part, None if nearest is None else rest
        if time.monotonic() - started < seconds / 16:
            width_ms *= 4


def _nearest(database: Database, search: Search) -> UUID | None:
    """Return the first IM within a search's times, whosever it is: where nothing was said is passed over."""
    id_ = col(ArchivedMessage.id)
    with database.transaction() as session:
        return session.scalar(select(id_).where(*_bounds(search)).order_by(_by(id_, search)).limit(1))


def _first_part(search: Search, at_ms: int, width_ms: int) -> tuple[Search, UUID | None]:
    """Return a search of a time from an IM on, and the ``after`` of what follows it; None: nothing does."""
    if search.order == "desc":
        edge = at_ms - width_ms
        if edge <= 0 or (search.from_ is not None and time_at(edge) <= search.from_):
            return search, None
        return search.model_copy(update={"from_": time_at(edge)}), _edge_of(edge)
    edge = at_ms + width_ms
    if edge >= _LAST_MS or (search.to is not None and time_at(edge) >= search.to):
        return search, None
    return search.model_copy(update={"to": time_at(edge)}), _edge_of(edge - 1, _LAST_IN_MS)


def _edge_of(milliseconds: int, random: int = 0) -> UUID:
    """Return a UUIDv7 of a millisecond, the lowest if nothing is said of what is random in it."""
    return UUID(int=milliseconds << 80 | 0x7 << 76 | 0b10 << 62 | random)


def _read(session: Session, search: Search, deadline: float) -> Generator[Message]:
    """Yield one IM more than a page holds, some of them at a time in memory.

    The keys are found first, and names are looked up for these only. In one statement the planner, which
    takes a time and the ids of that time for two things, would rather look up names first.
    """
    left_ms = max(1, round((deadline - time.monotonic()) * 1000))
    session.execute(select(func.set_config("statement_timeout", str(left_ms), True)))
    query = keys_of(session, search)
    keys = [] if query is None else session.execute(query).all()
    if not keys:
        return
    id_, sent_at = col(ArchivedMessage.id), col(ArchivedMessage.sent_at)
    times = [key.sent_at for key in keys]
    reading = select(ArchivedMessage).where(id_.in_([key.id for key in keys])).order_by(_by(id_, search))
    reading = reading.where(sent_at >= min(times), sent_at <= max(times))
    with session.scalars(reading, execution_options=_STREAMED) as rows:
        for row in rows:
            yield _message_of(row)


def keys_of(session: Session, search: Search) -> Keys | None:
    """Return the query for the keys of one IM more than a page holds, or None if there can be none."""
    id_, sent_at = col(ArchivedMessage.id), col(ArchivedMessage.sent_at)
    keys = select(id_, sent_at).where(*_bounds(search)).order_by(_by(id_, search)).limit(search.limit + 1)
    if search.text is not None:
        keys = keys.where(col(ArchivedMessage.body).icontains(search.text, autoescape=True))
    if search.received_from is not None:
        keys = keys.where(col(ArchivedMessage.received_at) >= search.received_from)
    if search.received_to is not None:
        keys = keys.where(col(ArchivedMessage.received_at) < search.received_to)
    conversations: Sequence[int] = ()
    if search.keys:
        named = col(ArchivedConversation.conversation).in_(search.keys)
        conversations = session.scalars(select(col(ArchivedConversation.id)).where(named)).all()
        if not conversations:
            return None
    if search.user is not None:
        user = session.scalar(select(col(ArchivedUser.id)).where(col(ArchivedUser.address) == search.user))
        if user is None:
            return None
        keys = _of_user(keys, user, conversations, search)
    elif len(conversations) == 1:
        keys = keys.where(col(ArchivedMessage.conversation_id) == conversations[0])
    elif conversations:
        keys = _of_conversations(keys, conversations, search)
    return keys


def _of_user(keys: Keys, user: int, conversations: Sequence[int], search: Search) -> Keys:
    """Narrow a query of keys to a user: the first of each of the user's conversations, then of all these.

    So an index serves each step, and a user with few IMs in a large archive is found as fast as another.
    """
    participant_in = col(ArchivedParticipant.conversation_id)
    theirs = or_(col(ArchivedMessage.sender_id) == user, col(ArchivedMessage.recipient_ids).contains([user]))
    each = keys.where(theirs, col(ArchivedMessage.conversation_id) == participant_in).lateral()
    query = select(each.c.id, each.c.sent_at).select_from(ArchivedParticipant).join(each, true())
    query = query.where(col(ArchivedParticipant.user_id) == user)
    if conversations:
        query = query.where(participant_in.in_(conversations))
    return query.order_by(_by(each.c.id, search)).limit(search.limit + 1)


def _of_conversations(keys: Keys, conversations: Sequence[int], search: Search) -> Keys:
    """Narrow a query of keys to conversations: the first of each, then of all these."""
    conversation = col(ArchivedConversation.id)
    each = keys.where(col(ArchivedMessage.conversation_id) == conversation).lateral()
    query = select(each.c.id, each.c.sent_at).select_from(ArchivedConversation).join(each, true())
    query = query.where(conversation.in_(conversations))
    return query.order_by(_by(each.c.id, search)).limit(search.limit + 1)


def _by(column: ColumnElement[UUID] | Mapped[UUID], search: Search) -> ColumnElement[UUID]:
    return column.asc() if search.order == "asc" else column.desc()


def _bounds(search: Search) -> list[ColumnElement[bool]]:
    """Return bounds of id and of sent_at, the time inside it: for the index, and to prune partitions."""
    id_, sent_at = col(ArchivedMessage.id), col(ArchivedMessage.sent_at)
    bounds: list[ColumnElement[bool]] = []
    if search.from_ is not None:
        bounds += [sent_at >= search.from_, id_ >= _lowest_id(search.from_)]
    if search.to is not None:
        bounds += [sent_at < search.to, id_ < _lowest_id(search.to, later=1)]  # to the end of its millisecond
    if search.after is not None:
        at = time_of(search.after)
        if search.order == "asc":
            bounds += [id_ > search.after, sent_at >= at]
        else:
            bounds += [id_ < search.after, sent_at <= at]
    return bounds


def _lowest_id(at: datetime, *, later: int = 0) -> UUID:
    """Return the lowest id of the millisecond that a time is in, or of one some milliseconds later."""
    milliseconds = (at - _EPOCH) // timedelta(milliseconds=1) + later
    return UUID(int=max(0, milliseconds) << 80)


def _message_of(row: ArchivedMessage) -> Message:
    return Message(
        **row.model_dump(exclude={"content"}),
        late_seconds=_lateness_of(row),
        encoding="text" if row.content is None else "base64",
        content=None if row.content is None else base64.b64encode(row.content).decode(),
    )


def _lateness_of(row: ArchivedMessage) -> float | None:
    if row.received_at is None or abs(late := row.received_at - row.sent_at) <= _ON_TIME:
        return None
    return late.total_seconds()
