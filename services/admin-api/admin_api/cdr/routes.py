"""Routes that read call detail records; the audit trail has each read."""

from typing import Annotated, Final

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from admin_api import audit
from admin_api.access.bulkheads import DatabaseDep
from admin_api.access.principals import ActorDep
from admin_api.cdr.answers import AttemptList, Reconciliation, SessionPage
from admin_api.cdr.csv_file import COLUMNS, rows_of
from admin_api.cdr.queries import Export, Search, check_cursor, find_attempts, find_page, pages_of
from admin_api.cdr.reconciliation import reconcile
from admin_api.http.fields import Time
from admin_api.http.openapi import problem
from admin_api.http.streaming import stream_file, write_csv
from admin_api.names.people import find_unknown
from runtime.problem import Problem

router = APIRouter(prefix="/v1/cdr", tags=["call detail records"])
_SHORTER: Final = "Ask for a shorter time; `python -m admin_api reconcile` takes a long one step by step."


@router.get("")
def list_sessions(search: Annotated[Search, Query()], actor: ActorDep, database: DatabaseDep) -> SessionPage:
    """Find sessions, newest first. Each search is written to the audit trail.

    A session may be on two pages if an earlier IM of it becomes known meanwhile; none is left out.
    """
    check_cursor(search)
    unknown = find_unknown(database, search.user, search)
    detail = audit.asked(search)
    attempt = audit.attempt(database, actor, "cdr.search", "sessions", detail, audit.NARROW)
    with attempt, database.transaction() as session:
        page = find_page(session, search, search.after, search.limit)
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
    chosen: Annotated[Export, Query()], actor: ActorDep, database: DatabaseDep
) -> StreamingResponse:
    """Return sessions as CSV (RFC 4180), newest first, a line for each participant. Each export is audited.

    The file is read page by page while it is sent, each page as the database is at that moment. A session may
    be in it twice if an earlier IM of it becomes known meanwhile.
    """
    unknown = find_unknown(database, chosen.user, chosen)
    with database.transaction() as session:
        audit.record(session, actor, "cdr.export", "sessions", detail=audit.asked(chosen))
    if unknown:
        field = "user" if unknown[0] in chosen.user else "conversation"
        raise Problem(
            404, f"{', '.join(unknown)}: known nowhere, so there is nothing to export.", field=field
        )
    rows = rows_of(pages_of(database, chosen))
    return stream_file(write_csv(COLUMNS, rows, bom=chosen.bom), "cdr.csv", "text/csv")


@router.get("/attempts")
def list_attempts(
    actor: ActorDep,
    database: DatabaseDep,
    since: Annotated[Time, Query(alias="from", examples=["2026-01-31T00:00:00Z"])],
    until: Annotated[Time, Query(alias="to", examples=["2026-02-01T00:00:00Z"])],
    limit: Annotated[int, Query(ge=1, le=1000, description="How many people at most")] = 100,
) -> AttemptList:
    """List people whose clients tried to talk past the archive, in sessions that ended within these times.

    Kinds: `msrp`, `t140`, `datachannel`, `file`, `fax`, `other` were refused; `disguised` is a text under the
    name of a typing notice or a receipt, which was archived. Each look is audited.
    """
    parameters = {"from": since.isoformat(), "to": until.isoformat(), "limit": limit}
    with database.transaction() as session:
        found = find_attempts(session, since, until, limit)
        detail = audit.asked(parameters) | {"count": len(found.people)}
        audit.record(session, actor, "cdr.attempts", "sessions", detail=detail)
    return found


@router.get("/reconciliation")
def get_reconciliation(
    actor: ActorDep,
    database: DatabaseDep,
    since: Annotated[Time, Query(alias="from", examples=["2026-01-31T00:00:00Z"])],
    until: Annotated[Time, Query(alias="to", examples=["2026-01-31T00:05:00Z"])],
) -> Reconciliation:
    """Compare the records of archived IMs with the archive, by conversation and minute.

    Operators get the totals; the conversations that differ are for compliance officers. Each look is audited.

    Parked IMs, and IMs that an officer discarded, are accounted for and don't differ. IMs deleted by hand
    differ, from the archive or from what is parked.

    IMs on their way differ for a moment. Some IMs differ for good: those that a front end refused and the
    broker kept, unless they were sent again; and of a front end that was killed, those that it had not
    recorded yet, and those that it had sent from its spool and not deleted there.

    The times are widened to full minutes: no count is finer. Where many IMs pass, records come up to five
    seconds after the IMs.

    All IMs of the time are counted in one statement that may take 30 s: millions of IMs, minutes at the
    highest load. For longer times `python -m admin_api reconcile` goes step by step.
    """
    parameters = audit.asked({"from": since.isoformat(), "to": until.isoformat()})
    with audit.attempt(database, actor, "cdr.reconciliation", "sessions", parameters, _SHORTER):
        found = reconcile(database, since, until)
    if actor.role == "operator":
        found.differences = None
    with database.transaction() as session:
        detail = parameters | {"differing": found.differing, "count": len(found.differences or [])}
        audit.record(session, actor, "cdr.reconciliation", "sessions", detail=detail)
    return found
