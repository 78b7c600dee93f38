"""Routes of parked IMs and call detail records."""

from collections.abc import Callable, Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query
from sqlmodel import Session

from admin_api import audit
from admin_api.access.bulkheads import DatabaseDep
from admin_api.access.principals import Actor, ActorDep
from admin_api.archive.parked.answers import Changed, ParkedContent, ParkedPage, Reason, State, content_of
from admin_api.archive.parked.queries import (
    discard,
    find_parked,
    find_parked_page,
    request_replay,
)
from admin_api.database import Database
from admin_api.http.fields import MAX_BIGINT, After, Limit
from admin_api.http.openapi import problem
from runtime.problem import Problem

router = APIRouter(prefix="/v1/parked", tags=["parked"])
Number = Annotated[int, Path(ge=1, le=MAX_BIGINT, alias="id", examples=[7])]
_Change = Callable[[Session, Sequence[int], Actor, str | None], int]
_NOT_PARKED: Final = problem("It was replayed or discarded before")


@router.get("")
def list_parked(
    actor: ActorDep,
    database: DatabaseDep,
    state: Annotated[State | None, Query()] = None,
    after: After = MAX_BIGINT,
    limit: Limit = 100,
) -> ParkedPage:
    """List parked, replayed and discarded IMs and call detail records, without content; it is audited."""
    with database.snapshot() as session:
        page = find_parked_page(session, state, after, limit)
        asked = {"state": state, "after": after if after < MAX_BIGINT else None, "limit": limit}
        detail = audit.asked(asked) | {"count": len(page.parked)}
        audit.record(session, actor, "archive.parked.list", "parked", detail=detail)
    return page


@router.get("/{id:int}")  # so that `replay` is none
def read_parked(number: Number, actor: ActorDep, database: DatabaseDep) -> ParkedContent:
    """Return a parked IM or call detail record with its content. Each read is written to the audit trail."""
    with database.transaction() as session:
        row = find_parked(session, number)
        audit.record(session, actor, "archive.parked.read", str(number))
    if row is None:
        raise _unknown()
    return content_of(row)


@router.post("/replay")
def replay_all(actor: ActorDep, database: DatabaseDep, body: Reason | None = None) -> Changed:
    """Replay everything that is parked; workers do it within seconds. A reason may be given."""
    reason = _reason_of(body)
    with database.transaction() as session:
        changed = request_replay(session, None, actor, reason)
        detail = {"reason": reason, "count": changed}
        audit.record(session, actor, "archive.parked.replay", "all", detail=detail)
    return Changed(changed=changed)


@router.post("/{id}/replay", responses={409: _NOT_PARKED})
def replay_one(number: Number, actor: ActorDep, database: DatabaseDep, body: Reason | None = None) -> Changed:
    """Replay one, once the cause is mended; a worker does it within seconds. A reason may be given."""
    return _change(database, request_replay, "archive.parked.replay", number, actor, _reason_of(body))


@router.post("/{id}/discard", responses={409: _NOT_PARKED})
def discard_one(number: Number, body: Reason, actor: ActorDep, database: DatabaseDep) -> Changed:
    """Discard one: it is no alarm any more.

    Its content is kept; completeness still counts it as parked, and the reconciliation as discarded.
    """
    return _change(database, discard, "archive.parked.discard", number, actor, body.reason)


def _reason_of(body: Reason | None) -> str | None:
    return None if body is None else body.reason


def _change(
    database: Database, change: _Change, action: str, number: int, actor: Actor, reason: str | None
) -> Changed:
    with database.transaction() as session:
        changed = change(session, [number], actor, reason)
        if not changed:
            row = find_parked(session, number)
            if row is None:
                raise _unknown()
            raise Problem(409, f"It is {row.state}: only what is parked can be replayed or discarded.")
        audit.record(session, actor, action, str(number), detail={"reason": reason})
    return Changed(changed=changed)


def _unknown() -> Problem:
    return Problem(404, "Nothing was ever parked under this id.", field="id")
