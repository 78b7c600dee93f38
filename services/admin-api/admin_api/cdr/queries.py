"""Queries for call detail records."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, Field, StringConstraints
from sqlmodel import Session, any_, col, func, select, tuple_
from sqlmodel.sql.expression import SelectOfScalar

from admin_api.cdr.answers import AttemptList, Attempts, Party, SessionPage, SessionRecord
from admin_api.database import Database
from admin_api.http.fields import MAX_BIGINT, KnownAddress, Text, Time
from admin_api.names.conversations import ConversationFilter
from admin_api.names.people import keys_of_conversations
from admin_api.tables.cdr import AttemptRow, SessionPartyRow, SessionRow
from contract.cdr import ENDED
from contract.message import Scope
from runtime.problem import Problem

_ROWS: Final = 1000
"""Sessions of an export that are read at once."""


class Filter(ConversationFilter):
    """A search: a session is found if it meets all conditions."""

    user: list[KnownAddress] = Field(
        default_factory=list,
        max_length=20,
        exclude_if=lambda users: not users,
        description="A participant. Of several, all: sessions in which each took part",
        examples=[["sip:yannis@contoso.com"]],
    )
    from_: Time | None = Field(None, alias="from", description="Begun then or later")
    to: Time | None = Field(None, description="Begun before")
    scope: Scope | None = None
    ended: Annotated[str, StringConstraints(pattern=ENDED)] | None = Field(
        None, description="How: `bye`, `idle`, or the status that refused it", examples=["486"]
    )


def _place_of(cursor: str) -> tuple[datetime, int]:
    """Return the begin and the number of the session after which a page begins. Raises ValueError."""
    started_at, _, number = cursor.rpartition(",")
    try:
        place = datetime.fromisoformat(started_at), int(number)
        if place[0].tzinfo is not None and 0 < place[1] <= MAX_BIGINT:
            return place
    except ValueError:
        pass
    raise ValueError("it is not the `next` of a page")


def _cursor_of(row: SessionRow) -> str:
    # "Z", not "+00:00": people paste it into an address, where a plus is a space.
    return f"{row.started_at.astimezone(UTC).isoformat().replace('+00:00', 'Z')},{row.id}"


def _cursor(text: str) -> str:
    _place_of(text)
    return text


class Export(Filter):
    """A search whose sessions are exported."""

    bom: bool = Field(
        False, description="`true`: with a byte order mark, by which spreadsheets know that it is UTF-8"
    )


class Search(Filter):
    """A search whose sessions are read page by page."""

    after: Annotated[Text, AfterValidator(_cursor)] | None = Field(
        None, description="The `next` of the page before"
    )
    limit: int = Field(100, ge=1, le=1000, description="How many at most")


def check_cursor(search: Search) -> None:
    """Raise Problem (422) if a page would begin outside the times of its search, and so be empty."""
    if search.after is not None:
        at, _ = _place_of(search.after)
        if (search.from_ is not None and at < search.from_) or (search.to is not None and at >= search.to):
            raise Problem(
                422, "This is the next of another search: it is not between from and to.", field="after"
            )


def pages_of(database: Database, chosen: Filter) -> Iterator[SessionPage]:
    """Yield all pages. No session with the database stays open while a client reads."""
    after: str | None = None
    while True:
        with database.transaction() as session:
            page = find_page(session, chosen, after, _ROWS)
        yield page
        after = page.next
        if after is None:
            return


def find_page(session: Session, chosen: Filter, after: str | None, limit: int) -> SessionPage:
    keys = keys_of_conversations(session, chosen.keys)
    rows = session.exec(query_of(chosen, after, keys).limit(limit + 1)).all()
    return SessionPage(
        sessions=[_record_of(row) for row in rows[:limit]],
        next=_cursor_of(rows[limit - 1]) if len(rows) > limit else None,
    )


def query_of(chosen: Filter, after: str | None, keys: Sequence[str] = ()) -> SelectOfScalar[SessionRow]:
    """Return the query for sessions, newest first: by their begin, as the index is.

    ``keys``: other keys of the conversation that was asked for.
    """
    started_at, number = col(SessionRow.started_at), col(SessionRow.id)
    query = select(SessionRow).order_by(started_at.desc(), number.desc())
    if after is not None:
        query = query.where(tuple_(started_at, number) < tuple_(*_place_of(after)))
    for user in dict.fromkeys(chosen.user):
        # As an array, the user's sessions are found first: the planner would rather go back through those of
        # all, however long ago the user's may be.
        theirs = select(SessionPartyRow.session_id).where(col(SessionPartyRow.address) == user)
        query = query.where(number == any_(func.array(theirs.scalar_subquery())))
    if chosen.keys:
        query = query.where(col(SessionRow.conversation).in_([*chosen.keys, *keys]))
    for column, value in (
        (SessionRow.scope, chosen.scope),
        (SessionRow.ended, chosen.ended),
    ):
        if value is not None:
            query = query.where(col(column) == value)
    if chosen.from_ is not None:
        query = query.where(started_at >= chosen.from_)
    if chosen.to is not None:
        query = query.where(started_at < chosen.to)
    return query


def _record_of(row: SessionRow) -> SessionRecord:
    return SessionRecord(
        **row.model_dump(exclude={"last_at", "passed", "parties", "sent", "clients", "attempts"}),
        seconds=((row.ended_at or row.last_at) - row.started_at).total_seconds(),
        not_archived=row.passed,
        attempts={address: kinds for address, kinds in zip(row.parties, row.attempts, strict=True) if kinds},
        parties=[
            Party(address=address, sent=sent, client=client)
            for address, sent, client in zip(row.parties, row.sent, row.clients, strict=True)
        ],
    )


def find_attempts(session: Session, since: datetime, until: datetime, limit: int) -> AttemptList:
    """Return the people with the most attempts in sessions that ended within these times."""
    count, last_at = func.sum(AttemptRow.count), func.max(AttemptRow.last_at)
    by_kind = (
        select(AttemptRow.address, AttemptRow.kind, count.label("count"), last_at.label("last_at"))
        .where(col(AttemptRow.last_at) >= since, col(AttemptRow.last_at) < until)
        .group_by(col(AttemptRow.address), col(AttemptRow.kind))
        .subquery()
    )
    total = func.sum(by_kind.c.count)
    query = (
        select(
            by_kind.c.address,
            total,
            func.jsonb_object_agg(by_kind.c.kind, by_kind.c.count),
            func.max(by_kind.c.last_at),
        )
        .group_by(by_kind.c.address)
        .order_by(total.desc(), by_kind.c.address)
        .limit(limit)
    )
    people = [
        Attempts(address=address, attempts=attempts, kinds=kinds, last_at=last)
        for address, attempts, kinds, last in session.exec(query)
    ]
    return AttemptList(people=people)
