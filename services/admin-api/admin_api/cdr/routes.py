"""Call detail records: who talked with whom, when, how long, how much; and whether that fits the archive."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Annotated, Any, Final

import sqlalchemy
from fastapi import APIRouter, Query, Security
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, BaseModel, Field, StringConstraints
from sqlmodel import Session, any_, col, func, select, tuple_
from sqlmodel.sql.expression import SelectOfScalar

from admin_api import audit
from admin_api.access.bulkheads import DatabaseOf
from admin_api.access.principals import Actor, Allow, Officer
from admin_api.cdr.answers import Party, SessionPage, SessionRecord
from admin_api.cdr.csv_file import write_sessions
from admin_api.database import Database
from admin_api.http.fields import MAX_BIGINT, KnownAddress, Text, Time
from admin_api.http.openapi import problem
from admin_api.names.conversations import ConversationFilter
from admin_api.names.people import find_unknown, keys_of_conversations
from admin_api.tables.cdr import SessionPartyRow, SessionRow
from contract.cdr import ENDED
from contract.message import Scope
from runtime.problem import Problem

router = APIRouter(prefix="/v1/cdr", tags=["call detail records"])

_CSV_ROWS: Final = 1000
_MOST_DIFFERENCES: Final = 1000
_NARROW: Final = "Narrow it by user, conversation, from or to."
_SHORTER: Final = "Ask for a shorter time; `python -m admin_api reconcile` takes a long one step by step."
_STEP: Final = timedelta(minutes=5)
"""Of a reconciliation of a long time: at 5,000 IMs a second it counts 1.5 million of them."""
_RECONCILE: Final = sqlalchemy.text("""
WITH found AS MATERIALIZED (
    SELECT conversation, recorded, passed, archived, parked, discarded, differing
    FROM cdr.reconcile(:since, :until)
),
differing AS (
    SELECT conversation, recorded, archived, parked, discarded, differing AS minutes FROM found
    WHERE differing > 0
    ORDER BY abs(recorded - archived - parked - discarded) DESC, conversation LIMIT :most
)
SELECT count(*) AS conversations, coalesce(sum(recorded), 0)::bigint AS recorded,
       coalesce(sum(passed), 0)::bigint AS not_archived, coalesce(sum(archived), 0)::bigint AS archived,
       coalesce(sum(parked), 0)::bigint AS parked, coalesce(sum(discarded), 0)::bigint AS discarded,
       cdr.count_unattributed(:since, :until) AS unattributed,
       count(*) FILTER (WHERE differing > 0) AS differing,
       (SELECT coalesce(json_agg(d), '[]') FROM differing AS d) AS differences
FROM found
""")


class Filter(ConversationFilter):
    """Which sessions: all that is given must be true of one."""

    user: list[KnownAddress] = Field(
        default_factory=list,
        max_length=20,
        exclude_if=lambda users: not users,
        description="Who took part. Of several, all: sessions in which each of them did",
        examples=[["sip:yannis@contoso.com"]],
    )
    from_: Time | None = Field(None, alias="from", description="Begun then or later")
    to: Time | None = Field(None, description="Begun before")
    scope: Scope | None = None
    ended: Annotated[str, StringConstraints(pattern=ENDED)] | None = Field(
        None, description="How: `bye`, `idle`, or the status that refused it", examples=["486"]
    )


def _place_of(cursor: str) -> tuple[datetime, int]:
    """Return the session after which a page begins: when that began, and its number. Raises ValueError."""
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
    """How they are exported."""

    bom: bool = Field(
        False, description="`true`: with a byte order mark, by which spreadsheets know that it is UTF-8"
    )


class Search(Filter):
    """Which page of them."""

    after: Annotated[Text, AfterValidator(_cursor)] | None = Field(
        None, description="The `next` of the page before"
    )
    limit: int = Field(100, ge=1, le=1000, description="How many at most")


def _check_cursor(search: Search) -> None:
    """Raise Problem (422) for a page that begins beyond the times that are asked for: it would be empty."""
    if search.after is not None:
        at, _ = _place_of(search.after)
        if (search.from_ is not None and at < search.from_) or (search.to is not None and at >= search.to):
            raise Problem(
                422, "This is the next of another search: it is not between from and to.", field="after"
            )


class Difference(BaseModel):
    """A conversation whose counts differ, if only in some minute."""

    conversation: str
    recorded: int
    archived: int
    parked: int
    discarded: int
    minutes: int = Field(description="In how many minutes they differ")


class Reconciliation(BaseModel):
    """The records of some times, minute by minute, against the archive.

    ``messages`` = ``recorded`` (as archived) + ``not_archived`` (by rule). Where nothing differs,
    ``recorded`` = ``archived`` + ``parked`` + ``discarded``. An IM that two front ends took in counts twice.
    """

    conversations: int
    messages: int
    recorded: int
    not_archived: int
    archived: int = Field(description="They are in the archive")
    parked: int = Field(description="They could not be stored, and wait to be replayed or discarded")
    discarded: int = Field(description="They could not be stored, and a compliance officer discarded them")
    unattributed: int = Field(
        description="IMs that were parked in this time, and wait or are discarded, of which nobody can tell"
        " the conversation: they may be what differs, here or at another time"
    )
    differing: int
    differences: list[Difference] | None = Field(
        description=f"The first {_MOST_DIFFERENCES}, the largest first: for the role compliance, else null."
        " A conversation's key may name who takes part."
    )


@router.get("")
def list_sessions(search: Annotated[Search, Query()], actor: Officer, database: DatabaseOf) -> SessionPage:
    """Find sessions, newest first. Each search is written to the audit trail.

    A session of which an earlier IM comes to be known meanwhile may be on two pages; none is left out.
    """
    _check_cursor(search)
    unknown = find_unknown(database, search.user, search)
    detail = _asked(search)
    attempt = audit.attempt(database, actor, "cdr.search", "sessions", detail, _NARROW)
    with attempt, database.transaction() as session:
        page = _find(session, search, search.after, search.limit)
        detail |= {"count": len(page.sessions)}
        audit.record(session, actor, "cdr.search", "sessions", detail=detail)
    page.unknown = unknown
    return page


@router.get(
    "/csv",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {}}}, 404: problem("Who or what is asked for is known nowhere")},
)
def export_sessions(
    chosen: Annotated[Export, Query()], actor: Officer, database: DatabaseOf
) -> StreamingResponse:
    """Return sessions as CSV (RFC 4180), newest first, a line for each who took part. It is audited.

    It is read page by page while it is sent: each page is as the database is then, and a session of which an
    earlier IM comes to be known meanwhile may be there twice.
    """
    unknown = find_unknown(database, chosen.user, chosen)
    with database.transaction() as session:
        audit.record(session, actor, "cdr.export", "sessions", detail=_asked(chosen))
    if unknown:
        field = "user" if unknown[0] in chosen.user else "conversation"
        raise Problem(
            404, f"{', '.join(unknown)}: known nowhere, so there is nothing to export.", field=field
        )
    chunks = write_sessions(_pages(database, chosen))
    # The first page is fetched before anything is answered: what goes wrong with it is a problem's answer.
    return StreamingResponse(
        chain(["\ufeff"] if chosen.bom else [], [next(chunks)], chunks),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="cdr.csv"'},
    )


@router.get("/reconciliation")
def get_reconciliation(
    actor: Annotated[Actor, Security(Allow("compliance", "operator"))],
    database: DatabaseOf,
    since: Annotated[Time, Query(alias="from", examples=["2026-01-31T00:00:00Z"])],
    until: Annotated[Time, Query(alias="to", examples=["2026-01-31T00:05:00Z"])],
) -> Reconciliation:
    """Compare what the records say was archived with what is in the archive, by conversation and minute.

    Operators get the totals; which conversations differ is for compliance officers. It is audited.

    IMs that are parked, or were discarded by an officer, are accounted for and don't differ. What was deleted
    by hand does, from the archive or from what is parked.

    IMs on their way differ for a moment. Others do for good: what a front end refused and the broker kept, if
    nobody sent it again; and of a front end that was killed, what it had not told yet, and what it had sent
    of its spool and not taken out.

    The times are widened to full minutes: no sum goes over those. Where many IMs pass, records come
    up to five seconds later than they.

    All IMs of the time are counted, in one statement that may take 30 s: millions of IMs, minutes at the
    highest load. For longer `python -m admin_api reconcile` goes step by step.
    """
    parameters = {"parameters": {"from": since.isoformat(), "to": until.isoformat()}}
    with audit.attempt(database, actor, "cdr.reconciliation", "sessions", parameters, _SHORTER):
        found = reconcile(database, since, until)
    if actor.role == "operator":
        found.differences = None
    with database.transaction() as session:
        detail = parameters | {"differing": found.differing, "count": len(found.differences or [])}
        audit.record(session, actor, "cdr.reconciliation", "sessions", detail=detail)
    return found


def reconcile(database: Database, since: datetime, until: datetime) -> Reconciliation:
    """Return the reconciliation of these times. Raises as ``count_all`` does."""
    with database.transaction() as session:
        parameters = {"since": since, "until": until, "most": _MOST_DIFFERENCES}
        row = session.execute(_RECONCILE, parameters).mappings().one()
    return Reconciliation(messages=row["recorded"] + row["not_archived"], **row)


def steps_of(since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield the times in which to reconcile a long one, so that no statement takes long at any load."""
    since = since.replace(second=0, microsecond=0)  # each minute is in one step
    while since < until:
        end = min(since + _STEP, until)
        yield since, end
        since = end


def total_of(steps: Iterable[Reconciliation]) -> Reconciliation:
    """Return the totals of some steps. A conversation counts once in each in which it went on."""
    totals = Counter(dict.fromkeys(Reconciliation.model_fields.keys() - {"differences"}, 0))
    for step in steps:
        totals.update(step.model_dump(exclude={"differences"}))
    return Reconciliation(**totals, differences=None)


def line_of(found: Reconciliation) -> str:
    """Say the totals for a person: no names, for nobody knows who reads it."""
    aside = {
        "parked": found.parked,
        "discarded": found.discarded,
        "parked of unknown conversations": found.unattributed,
    }
    return (
        f"{found.conversations} conversations: {found.messages} messages, {found.not_archived} not archived"
        f" by rule, {found.recorded} recorded as archived, {found.archived} in the archive,"
        f"{''.join(f' {count} {what},' for what, count in aside.items() if count)} {found.differing} differ"
    )


def _asked(chosen: Filter) -> dict[str, Any]:
    return {"parameters": chosen.model_dump(mode="json", by_alias=True, exclude_none=True)}


def _find(session: Session, chosen: Filter, after: str | None, limit: int) -> SessionPage:
    keys = keys_of_conversations(session, chosen.keys)
    rows = session.exec(query_of(chosen, after, keys).limit(limit + 1)).all()
    return SessionPage(
        sessions=[_record_of(row) for row in rows[:limit]],
        next=_cursor_of(rows[limit - 1]) if len(rows) > limit else None,
    )


def query_of(chosen: Filter, after: str | None, keys: Sequence[str] = ()) -> SelectOfScalar[SessionRow]:
    """Return the query for sessions, newest first; by when they began, as the index is.

    ``keys``: of the conversation that is asked for, if it has older ones.
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


def _pages(database: Database, chosen: Filter) -> Iterator[SessionPage]:
    """Yield all pages: nothing is open in the database while a client takes its time to read."""
    after: str | None = None
    while True:
        with database.transaction() as session:
            page = _find(session, chosen, after, _CSV_ROWS)
        yield page
        after = page.next
        if after is None:
            return
