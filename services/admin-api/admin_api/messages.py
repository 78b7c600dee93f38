"""Reading archived IMs. Nothing is given before the audit trail says to whom."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from psycopg.errors import QueryCanceled
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from sqlalchemy import ColumnElement, Select, and_, func, or_, select, true
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Mapped
from sqlmodel import Session, col

from admin_api import audit
from admin_api.database import DatabaseOf
from admin_api.disclaimers import NoticeSent, find_notices
from admin_api.fields import Address, Text
from admin_api.principals import Officer
from admin_api.tables import ArchivedConversation, ArchivedMessage, ArchivedParticipant, ArchivedUser
from contract.message import Encoding, Scope, time_of
from contract.problem import Problem

router = APIRouter(prefix="/v1/messages", tags=["archive"])

_MAX_BYTES: Final = 16 << 20
"""Of the IMs in a page: one with large IMs ends before its limit."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

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


class Search(BaseModel):
    """What is looked for: all that is given must be true of an IM."""

    model_config = ConfigDict(extra="forbid")  # a filter misspelt must not give everything

    user: Address | None = Field(None, description="Sender or recipient", examples=["sip:yannis@contoso.com"])
    conversation: Text | None = None
    from_: Time | None = Field(None, alias="from", examples=["2026-01-31T08:00:00Z"])
    to: Time | None = Field(None, description="Exclusive", examples=["2026-02-01T00:00:00Z"])
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


class MessagePage(BaseModel):
    """Some IMs; ``next`` is the ``after`` of the page that follows, null on the last."""

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
    """Find archived IMs, a page at a time. Each search is written to the audit trail, with what it gave."""
    seconds: float = request.app.state.settings.search_seconds
    try:
        with database.transaction() as session:
            session.execute(select(func.set_config("statement_timeout", f"{seconds * 1000:.0f}", True)))
            page = _find(session, search)
            if search.conversation is not None:
                page.disclaimers = find_notices(session, conversation=search.conversation)
            ids = [message.id for message in page.messages]
            detail = {
                "parameters": search.model_dump(mode="json", by_alias=True, exclude_none=True),
                "count": len(ids),
                "first": str(ids[0]) if ids else None,
                "last": str(ids[-1]) if ids else None,
            }
            audit.record(session, actor, "archive.search", "messages", detail=detail)
    except OperationalError as error:
        if isinstance(error.orig, QueryCanceled):
            raise Problem(
                503, f"The search took more than {seconds:g} s: narrow it by user, conversation, from or to."
            ) from None
        raise
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


def _find(session: Session, search: Search) -> MessagePage:
    query = query_of(session, search)
    if query is None:
        return MessagePage(messages=[], next=None)
    messages: list[Message] = []
    size = 0
    rows = session.scalars(query, execution_options={"stream_results": True, "max_row_buffer": 100})
    for row in rows:
        size += len(row.body or row.content or "")
        if messages and (len(messages) == search.limit or size > _MAX_BYTES):
            rows.close()
            return MessagePage(messages=messages, next=messages[-1].id)
        messages.append(_message_of(row))
    return MessagePage(messages=messages, next=None)


def query_of(session: Session, search: Search) -> Select[ArchivedMessage] | None:
    """Return the query for one IM more than a page holds, or None if there can be none.

    It finds the keys first, by an index alone, and looks up names for these only.
    """
    id_, sent_at = col(ArchivedMessage.id), col(ArchivedMessage.sent_at)
    bounds = _bounds(search)
    keys = select(id_, sent_at).where(*bounds).order_by(_by(id_, search)).limit(search.limit + 1)
    if search.text is not None:
        keys = keys.where(col(ArchivedMessage.body).icontains(search.text, autoescape=True))
    of_conversation = None
    if search.conversation is not None:
        name = col(ArchivedConversation.conversation)
        of_conversation = session.scalar(
            select(col(ArchivedConversation.id)).where(name == search.conversation)
        )
        if of_conversation is None:
            return None
    if search.user is not None:
        user = session.scalar(select(col(ArchivedUser.id)).where(col(ArchivedUser.address) == search.user))
        if user is None:
            return None
        keys = _of_user(keys, user, of_conversation, search)
    elif of_conversation is not None:
        keys = keys.where(col(ArchivedMessage.conversation_id) == of_conversation)
    found = keys.subquery()
    same = and_(id_ == found.c.id, sent_at == found.c.sent_at)
    return select(ArchivedMessage).join(found, same).where(*bounds).order_by(_by(id_, search))


def _of_user(keys: Keys, user: int, conversation: int | None, search: Search) -> Keys:
    """Narrow a query of keys to a user: the first of each of the user's conversations, then of all these.

    So an index serves each step, and a user with few IMs in a large archive is found as fast as another.
    """
    participant_in = col(ArchivedParticipant.conversation_id)
    theirs = or_(col(ArchivedMessage.sender_id) == user, col(ArchivedMessage.recipient_ids).contains([user]))
    each = keys.where(theirs, col(ArchivedMessage.conversation_id) == participant_in).lateral()
    query = select(each.c.id, each.c.sent_at).select_from(ArchivedParticipant).join(each, true())
    query = query.where(col(ArchivedParticipant.user_id) == user)
    if conversation is not None:
        query = query.where(participant_in == conversation)
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
        # The id's milliseconds end where those of ``to`` end.
        bounds += [sent_at < search.to, id_ < _lowest_id(search.to + timedelta(milliseconds=1))]
    if search.after is not None:
        at = time_of(search.after)
        if search.order == "asc":
            bounds += [id_ > search.after, sent_at >= at]
        else:
            bounds += [id_ < search.after, sent_at <= at]
    return bounds


def _lowest_id(at: datetime) -> UUID:
    """Return the lowest id of a millisecond."""
    milliseconds = (at - _EPOCH) // timedelta(milliseconds=1)
    return UUID(int=max(0, milliseconds) << 80)


def _message_of(row: ArchivedMessage) -> Message:
    return Message(
        **row.model_dump(exclude={"content"}),
        encoding="text" if row.content is None else "base64",
        content=None if row.content is None else base64.b64encode(row.content).decode(),
    )
