"""Searches of the archive, and how the database finds them."""

import re
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal
from uuid import UUID

from psycopg.errors import QueryCanceled
from pydantic import BeforeValidator, Field
from sqlalchemy import ARRAY, ColumnElement, Integer, Row, Select, any_, func, literal, or_, select, true
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Mapped
from sqlmodel import Session, col

from admin_api.archive.messages.texts import contains, spellings_of
from admin_api.database import Database
from admin_api.http.fields import ImId, KnownAddress, Text, Time
from admin_api.names.conversations import ConversationFilter
from admin_api.names.people import numbers_of_conversations, numbers_of_person
from admin_api.tables.archive import ArchivedConversation, ArchivedMessage, ArchivedParticipant
from contract.encryption import EncryptionKind
from contract.message import milliseconds_of, time_at, time_of
from runtime.problem import Problem

_OPERATORS: Final = re.compile(
    r"""
    ^\s*(["“„«]).*["”“»]\s*$     # a phrase in quotation marks
    | (^|\s)-[^\W\d]             # a word that must not be there; -5 is a number
    | \w\*(\s|$) | (^|\s)\*\w   # any words with this beginning, or end
    | \s(AND|OR|NOT|NEAR)\s
    """,
    re.VERBOSE,
)
"""Operators of other search engines. As plain text they hardly ever occur in an IM."""
_MAX_COUNTED: Final = 10_000
"""The count of IMs without a text stops here."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 24 * 60 * _MINUTE_MS
_LAST_MS: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
_LAST_IN_MS: Final = 0xFFF << 64 | (1 << 62) - 1
"""The random bits of a UUIDv7, at their highest."""

Keys = Select[UUID, datetime]
Key = Row[UUID, datetime]


class Search(ConversationFilter):
    """A search: an IM is found if it meets all conditions."""

    user: list[KnownAddress] = Field(
        default_factory=list,
        max_length=20,
        exclude_if=lambda users: not users,
        description="Sender or recipient. Of several, all: IMs in which each of them took part",
        examples=[["sip:yannis@contoso.com"]],
    )
    from_: Time | None = Field(None, alias="from", examples=["2026-01-31T08:00:00Z"])
    to: Time | None = Field(None, description="Exclusive", examples=["2026-02-01T00:00:00Z"])
    received_from: Time | None = Field(None, description="Taken in by a front end then or later")
    received_to: Time | None = Field(None, description="Exclusive")
    text: Text | None = Field(
        None,
        description="Contained in the text of an IM, in upper or lower case, however keyboards write"
        " apostrophes, quotation marks, dashes, blanks and accents",
    )
    without_text: bool | None = Field(
        None,
        description="`true`: IMs without a text, which no search for a `text` finds; `false`: IMs with one",
    )
    encryption: Annotated[EncryptionKind, BeforeValidator(str.lower)] | None = Field(
        None, description="The kind of the sender's encryption or signature"
    )
    after: ImId | None = Field(None, description="The `next` of the page before")
    order: Literal["desc", "asc"] = Field("desc", description="By time: newest first, or oldest first")
    limit: int = Field(100, ge=1, le=1000, description="How many at most")


def check_search(search: Search) -> None:
    """Raise Problem (422) for a search that no IM can match."""
    if search.text is not None:
        if search.without_text:
            raise Problem(422, "What has no text holds none: leave out text or without_text.", field="text")
        if _OPERATORS.search(search.text):
            raise Problem(
                422,
                "A text is looked for as it stands: leave out quotation marks around it, a minus before it,"
                " an asterisk, AND, OR and NOT. Of several words ask for one at a time.",
                field="text",
            )
    if search.after is not None:
        at = milliseconds_of(search.after)
        too_early = search.from_ is not None and at < _milliseconds_at(search.from_) - 1
        if too_early or (search.to is not None and at > _milliseconds_at(search.to) + 1):
            raise Problem(
                422, "This is the next of another search: it is not between from and to.", field="after"
            )


def count_without_text(database: Database, search: Search, seconds: float) -> int | None:
    """Return the number of IMs in which no text could be searched; None if counting takes too long."""
    asked = search.model_copy(
        update={"text": None, "without_text": True, "after": None, "limit": _MAX_COUNTED - 1}
    )
    try:
        with database.transaction() as session:
            limit_time(session, seconds)
            keys = keys_of(session, asked)
            if keys is None:
                return 0
            return session.scalar(select(func.count()).select_from(keys.order_by(None).subquery()))
    except OperationalError as error:
        if not isinstance(error.orig, QueryCanceled):
            raise
        return None


def limit_time(session: Session, seconds: float) -> None:
    milliseconds = max(1, round(seconds * 1000))
    session.execute(select(func.set_config("statement_timeout", str(milliseconds), True)))


def parts_of(database: Database, search: Search, seconds: float) -> Iterator[tuple[Search, UUID | None]]:
    """Yield searches of consecutive times that make up this one, each with the ``after`` of the next.

    No index finds a text, a user's IMs in order, or the IMs received in a time. So the search goes time by
    time: first a short time, then longer ones as long as each takes a small part of the seconds for all.
    """
    if not (search.user or search.text or search.received_from or search.received_to):
        yield search, None
        return
    width_ms = _MINUTE_MS if not search.user and search.conversation is None else _DAY_MS
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
    """Return the first IM of anybody within a search's times: times without any IM are skipped."""
    id_ = col(ArchivedMessage.id)
    with database.transaction() as session:
        return session.scalar(select(id_).where(*_bounds(search)).order_by(in_order(id_, search)).limit(1))


def _first_part(search: Search, at_ms: int, width_ms: int) -> tuple[Search, UUID | None]:
    """Return a search of a time that begins with an IM, and the ``after`` of the next one, if any."""
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
    """Return a UUIDv7 of a millisecond, by default the lowest."""
    return UUID(int=milliseconds << 80 | 0x7 << 76 | 0b10 << 62 | random)


def keys_of(session: Session, search: Search, *, unreadable: bool = False) -> Keys | None:
    """Return the query for the keys of one IM more than a page holds; None if there can be no such IM.

    ``unreadable``: IMs with an unreadable text count as found, which takes longer.
    """
    id_, sent_at = col(ArchivedMessage.id), col(ArchivedMessage.sent_at)
    keys = (
        select(id_, sent_at).where(*_bounds(search)).order_by(in_order(id_, search)).limit(search.limit + 1)
    )
    if search.text is not None:
        keys = keys.where(
            or_(*(func.archive.may_contain(id_, sent_at, text) for text in spellings_of(search.text)))
            if unreadable
            else contains(col(ArchivedMessage.body), search.text)
        )
    if search.without_text is not None:
        body = col(ArchivedMessage.body)
        keys = keys.where(body.is_(None) if search.without_text else body.is_not(None))
    if search.encryption is not None:
        keys = keys.where(col(ArchivedMessage.encryption) == search.encryption)
    if search.received_from is not None:
        keys = keys.where(col(ArchivedMessage.received_at) >= search.received_from)
    if search.received_to is not None:
        keys = keys.where(col(ArchivedMessage.received_at) < search.received_to)
    conversations: Sequence[int] = ()
    if search.keys:
        conversations = numbers_of_conversations(session, search.keys)
        if not conversations:
            return None
    if search.user:
        people = [numbers_of_person(session, user) for user in dict.fromkeys(search.user)]
        if not all(people):
            return None
        keys = _of_people(keys, people, conversations, search)
    elif len(conversations) == 1:
        keys = keys.where(col(ArchivedMessage.conversation_id) == conversations[0])
    elif conversations:
        keys = _of_conversations(keys, conversations, search)
    return keys


def _of_people(
    keys: Keys, people: Sequence[Sequence[int]], conversations: Sequence[int], search: Search
) -> Keys:
    """Narrow a query of keys to IMs in which all of some people took part.

    The first IMs of each conversation are found, then the first of all these. So an index serves each step,
    and a person with few IMs in a large archive is found as fast as another.
    """
    participant_in = col(ArchivedParticipant.conversation_id)
    talks = select(participant_in)
    for numbers in people:
        user = any_(literal(numbers, ARRAY(Integer)))
        recipients = col(ArchivedMessage.recipient_ids).op("&&")(numbers)
        keys = keys.where(or_(col(ArchivedMessage.sender_id) == user, recipients))
        theirs = select(participant_in).where(col(ArchivedParticipant.user_id) == user)
        talks = theirs.distinct() if numbers is people[0] else talks.where(participant_in.in_(theirs))
    if conversations:
        talks = talks.where(participant_in.in_(conversations))
    theirs_in = talks.subquery()
    each = keys.where(col(ArchivedMessage.conversation_id) == theirs_in.c.conversation_id).lateral()
    query = select(each.c.id, each.c.sent_at).select_from(theirs_in).join(each, true())
    return query.order_by(in_order(each.c.id, search)).limit(search.limit + 1)


def _of_conversations(keys: Keys, conversations: Sequence[int], search: Search) -> Keys:
    """Narrow a query of keys to conversations: the first IMs of each, then the first of all these."""
    conversation = col(ArchivedConversation.id)
    each = keys.where(col(ArchivedMessage.conversation_id) == conversation).lateral()
    query = select(each.c.id, each.c.sent_at).select_from(ArchivedConversation).join(each, true())
    query = query.where(conversation.in_(conversations))
    return query.order_by(in_order(each.c.id, search)).limit(search.limit + 1)


def in_order(column: ColumnElement[UUID] | Mapped[UUID], search: Search) -> ColumnElement[UUID]:
    return column.asc() if search.order == "asc" else column.desc()


def _bounds(search: Search) -> list[ColumnElement[bool]]:
    """Return bounds of id, for the index, and of sent_at, to prune partitions."""
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
    """Return the lowest id of a time's millisecond, or of one ``later`` milliseconds after it."""
    return UUID(int=max(0, _milliseconds_at(at) + later) << 80)


def _milliseconds_at(at: datetime) -> int:
    """Return the milliseconds from 1970 to a time. Unlike times they have no first and no last."""
    return (at - _EPOCH) // timedelta(milliseconds=1)
