"""Call detail records: who talked with whom, when, how long, how much; and whether that fits the archive."""

import csv
import io
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Final

import sqlalchemy
from fastapi import APIRouter, Query, Security
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlmodel import col, select
from sqlmodel.sql.expression import SelectOfScalar

from admin_api import audit
from admin_api.database import Database, DatabaseOf
from admin_api.fields import MAX_BIGINT, Address, Text
from admin_api.messages import Time
from admin_api.principals import Allow, Officer
from admin_api.tables import SessionPartyRow, SessionRow
from contract.message import Scope

router = APIRouter(prefix="/v1/cdr", tags=["call detail records"])

_CSV_ROWS: Final = 1000
_CSV_BYTES: Final = 65_536
_COLUMNS: Final = (
    *("session", "conversation", "scope", "pool", "started_at", "ended_at", "ended", "seconds", "messages"),
    *("archived", "participant", "caller", "sent", "client"),
)
_MOST_DIFFERENCES: Final = 1000
_RECONCILE: Final = sqlalchemy.text("SELECT * FROM cdr.reconcile(:since, :until)")


class Filter(BaseModel):
    """Which sessions: all that is given must be true of one."""

    model_config = ConfigDict(extra="forbid")

    user: Address | None = Field(None, description="Who took part", examples=["sip:yannis@contoso.com"])
    conversation: Text | None = None
    from_: Time | None = Field(None, alias="from", description="Begun then or later")
    to: Time | None = Field(None, description="Begun before")
    scope: Scope | None = None
    ended: Text | None = Field(None, description="How", examples=["bye", "idle", "486"])


class Search(Filter):
    """Which page of them."""

    after: int = Field(MAX_BIGINT, ge=1, le=MAX_BIGINT, description="The `next` of the page before")
    limit: int = Field(100, ge=1, le=1000, description="How many at most")


class Party(BaseModel):
    """Who took part: how many IMs sent, with what client (null: sent none)."""

    address: str
    sent: int
    client: str | None


class SessionRecord(BaseModel):
    """A session. ``messages`` = ``archived`` + those that ``not_archived`` counts by rule."""

    id: int
    conversation: str
    invited: bool = Field(description="Set up by SIP INVITE; else single IMs, together until an idle time")
    scope: Scope
    pool: str
    caller: str
    client: str
    started_at: datetime
    ended_at: datetime | None = Field(description="null: it goes on")
    ended: str | None = Field(description="How: `bye`, `idle`, or the status that refused it")
    seconds: float = Field(description="From its begin to its last IM, or its end")
    messages: int
    archived: int
    not_archived: dict[str, int]
    parties: list[Party]


class SessionPage(BaseModel):
    """Some sessions, newest first; ``next`` is the ``after`` of the page that follows, null on the last."""

    sessions: list[SessionRecord]
    next: int | None


class Difference(BaseModel):
    """A conversation whose counts differ."""

    conversation: str
    recorded: int
    archived: int


class Reconciliation(BaseModel):
    """Sessions begun within the times, against the archive.

    ``messages`` = ``recorded`` (as archived) + ``not_archived`` (by rule); ``archived``: IMs in the archive.
    """

    conversations: int
    messages: int
    recorded: int
    not_archived: int
    archived: int
    differing: int
    differences: list[Difference] = Field(description=f"The first {_MOST_DIFFERENCES}, the largest first")


@router.get("")
def list_sessions(search: Annotated[Search, Query()], actor: Officer, database: DatabaseOf) -> SessionPage:
    """Find sessions, newest first. Each search is written to the audit trail."""
    query = _query_of(search).where(col(SessionRow.id) < search.after).limit(search.limit + 1)
    with database.transaction() as session:
        rows = session.exec(query).all()
        records = [_record_of(row) for row in rows[: search.limit]]
        audit.record(
            session, actor, "cdr.search", "sessions", detail=_asked(search) | {"count": len(records)}
        )
    return SessionPage(sessions=records, next=records[-1].id if len(rows) > search.limit else None)


@router.get("/csv", response_class=StreamingResponse, responses={200: {"content": {"text/csv": {}}}})
def export_sessions(
    chosen: Annotated[Filter, Query()], actor: Officer, database: DatabaseOf
) -> StreamingResponse:
    """Return sessions as CSV (RFC 4180), newest first, a line for each who took part. It is audited."""
    with database.transaction() as session:
        audit.record(session, actor, "cdr.export", "sessions", detail=_asked(chosen))
    headers = {"Content-Disposition": 'attachment; filename="cdr.csv"'}
    return StreamingResponse(_write(database, chosen), media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/reconciliation", dependencies=[Security(Allow("operator", "compliance"))])
def get_reconciliation(
    database: DatabaseOf,
    since: Annotated[Time, Query(alias="from", examples=["2026-01-31T00:00:00Z"])],
    until: Annotated[Time, Query(alias="to", examples=["2026-02-01T00:00:00Z"])],
) -> Reconciliation:
    """Compare what the records say was archived with what is in the archive, conversation by conversation.

    IMs on their way differ for a moment. So does what a front end that was killed had not told yet, and what
    it refused and the broker kept.
    """
    return reconcile(database, since, until)


def reconcile(database: Database, since: datetime, until: datetime) -> Reconciliation:
    """Return the reconciliation of sessions begun within these times. Raises as ``count_all`` does."""
    with database.snapshot() as session:
        rows = session.execute(_RECONCILE, {"since": since, "until": until}).all()
    differing = [row for row in rows if row.recorded != row.archived]
    differing.sort(key=lambda row: (-abs(row.recorded - row.archived), row.conversation))
    recorded, not_archived = (sum(getattr(row, name) for row in rows) for name in ("recorded", "passed"))
    return Reconciliation(
        conversations=len(rows),
        messages=recorded + not_archived,
        recorded=recorded,
        not_archived=not_archived,
        archived=sum(row.archived for row in rows),
        differing=len(differing),
        differences=[
            Difference(conversation=row.conversation, recorded=row.recorded, archived=row.archived)
            for row in differing[:_MOST_DIFFERENCES]
        ],
    )


def lines_of(found: Reconciliation) -> Iterator[str]:
    """Say it for a person: a line for each difference, and the totals."""
    for each in found.differences:
        yield f"{each.conversation}: {each.recorded} recorded as archived, {each.archived} in the archive"
    yield (
        f"{found.conversations} conversations: {found.messages} messages, {found.not_archived} not archived"
        f" by rule, {found.recorded} recorded as archived, {found.archived} in the archive,"
        f" {found.differing} differ"
    )


def _asked(chosen: Filter) -> dict[str, Any]:
    return {"parameters": chosen.model_dump(mode="json", by_alias=True, exclude_none=True)}


def _query_of(chosen: Filter) -> SelectOfScalar[SessionRow]:
    query = select(SessionRow).order_by(col(SessionRow.id).desc())
    if chosen.user is not None:
        theirs = select(SessionPartyRow.session_id).where(col(SessionPartyRow.address) == chosen.user)
        query = query.where(col(SessionRow.id).in_(theirs))
    for column, value in (
        (SessionRow.conversation, chosen.conversation),
        (SessionRow.scope, chosen.scope),
        (SessionRow.ended, chosen.ended),
    ):
        if value is not None:
            query = query.where(col(column) == value)
    if chosen.from_ is not None:
        query = query.where(col(SessionRow.started_at) >= chosen.from_)
    if chosen.to is not None:
        query = query.where(col(SessionRow.started_at) < chosen.to)
    return query


def _record_of(row: SessionRow) -> SessionRecord:
    return SessionRecord(
        **row.model_dump(exclude={"last_at", "passed", "parties", "sent", "clients"}),
        seconds=((row.ended_at or row.last_at) - row.started_at).total_seconds(),
        not_archived=row.passed,
        parties=[
            Party(address=address, sent=sent, client=client)
            for address, sent, client in zip(row.parties, row.sent, row.clients, strict=True)
        ],
    )


def _write(database: Database, chosen: Filter) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(_COLUMNS)
    with database.snapshot() as session:
        rows = session.exec(_query_of(chosen), execution_options={"yield_per": _CSV_ROWS})
        for row in rows:
            record = _record_of(row)
            common = [
                record.id,
                _plain(record.conversation),
                record.scope,
                record.pool,
                record.started_at.isoformat(),
                record.ended_at.isoformat() if record.ended_at else "",
                record.ended or "",
                f"{record.seconds:.3f}",
                record.messages,
                record.archived,
            ]
            for party in record.parties:
                caller = party.address == record.caller
                writer.writerow(
                    [*common, _plain(party.address), caller, party.sent, _plain(party.client or "")]
                )
            if buffer.tell() > _CSV_BYTES:
                yield buffer.getvalue()
                buffer.seek(0)
                buffer.truncate()
    yield buffer.getvalue()


def _plain(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula (OWASP, "CSV injection")."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
