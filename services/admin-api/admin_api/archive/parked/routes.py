"""What could not be stored, IMs and call detail records: seen, tried again, given up; with who and why."""

import base64
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import sqlalchemy
from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, Field
from sqlmodel import Session, col, func, select

from admin_api import audit
from admin_api.access.bulkheads import DatabaseOf
from admin_api.access.principals import Actor, Allow, Officer
from admin_api.http.fields import MAX_BIGINT, After, Document, Limit, Text
from admin_api.http.openapi import problem
from admin_api.tables.archive import ParkedRow
from runtime.problem import Problem

router = APIRouter(prefix="/v1/parked", tags=["parked"])

Kind = Literal["im", "cdr"]
State = Literal["parked", "replaying", "replayed", "discarded"]
Number = Annotated[int, Path(ge=1, le=MAX_BIGINT, alias="id", examples=[7])]
Operator = Annotated[Actor, Depends(Allow("operator", "compliance"))]


class Parked(BaseModel):
    """One thing that is parked, without its content."""

    id: int
    kind: Kind = Field(description="`im`, or `cdr`: lines of call detail records")
    parked_at: datetime
    reason: str
    pool: str | None
    agent: UUID | None
    first_seq: int | None = Field(description="The agent's number of its first IM")
    ims: int = Field(description="How many IMs it holds, as far as anybody can tell; `cdr` holds none")
    bytes: int
    state: State
    changed_at: datetime | None
    changed_by: str | None
    changed_why: str | None


class ParkedContent(Parked):
    """One thing that is parked, as it came."""

    content: str = Field(description="Its bytes in base64 (RFC 4648, 4)")
    text: str | None = Field(description="The same as text, if it is UTF-8")
    properties: dict[str, Any] = Field(description="AMQP properties and headers")


class ParkedPage(BaseModel):
    """Some, newest first; ``next`` is the ``after`` of the page that follows, null on the last."""

    parked: list[Parked]
    next: int | None
    waiting: int = Field(description="How many IMs are parked now, on all pages")


class Reason(Document):
    """Why somebody does it."""

    reason: Text = Field(examples=["the disk was full"])


class Changed(BaseModel):
    """How many things were concerned."""

    changed: int


_NOT_PARKED: Final = problem("It was replayed or discarded before")


@router.get("")
def list_parked(
    actor: Operator,
    database: DatabaseOf,
    state: Annotated[State | None, Query()] = None,
    after: After = MAX_BIGINT,
    limit: Limit = 100,
) -> ParkedPage:
    """List what is parked, and what became of what was; no content. Each look is audited."""
    query = _listing().where(col(ParkedRow.id) < after)
    if state is not None:
        query = query.where(col(ParkedRow.state) == state)
    waiting = select(func.coalesce(func.sum(col(ParkedRow.ims)), 0)).where(
        col(ParkedRow.state).in_(("parked", "replaying"))
    )
    with database.snapshot() as session:
        rows = session.execute(query.order_by(col(ParkedRow.id).desc()).limit(limit + 1)).mappings().all()
        count = session.exec(waiting).one()
        asked = {"state": state, "after": after if after < MAX_BIGINT else None, "limit": limit}
        detail = audit.asked(asked) | {"count": len(rows[:limit])}
        audit.record(session, actor, "archive.parked.list", "parked", detail=detail)
    parked = [Parked.model_validate(dict(row)) for row in rows[:limit]]
    return ParkedPage(parked=parked, next=parked[-1].id if len(rows) > limit else None, waiting=count)


@router.get("/{id:int}")  # so that `replay` is none
def read_parked(number: Number, actor: Officer, database: DatabaseOf) -> ParkedContent:
    """Return one with its content. Each read is written to the audit trail."""
    with database.transaction() as session:
        row = session.get(ParkedRow, number)
        audit.record(session, actor, "archive.parked.read", str(number))
    if row is None:
        raise _unknown()
    try:
        text = row.body.decode()
    except UnicodeDecodeError:
        text = None
    return ParkedContent(
        **row.model_dump(exclude={"body"}),
        bytes=len(row.body),
        content=base64.b64encode(row.body).decode(),
        text=text,
    )


@router.post("/replay")
def replay_all(actor: Operator, database: DatabaseOf, body: Reason | None = None) -> Changed:
    """Have all that is parked tried again; the workers do it within seconds. A reason may be given."""
    reason = _reason_of(body)
    with database.transaction() as session:
        changed = _call(session, "request_replay", None, actor, reason)
        detail = {"reason": reason, "count": changed}
        audit.record(session, actor, "archive.parked.replay", "all", detail=detail)
    return Changed(changed=changed)


@router.post("/{id}/replay", responses={409: _NOT_PARKED})
def replay_one(number: Number, actor: Operator, database: DatabaseOf, body: Reason | None = None) -> Changed:
    """Have one tried again, once what was wrong is mended; a worker does it within seconds."""
    return _change(database, "request_replay", "archive.parked.replay", number, actor, _reason_of(body))


@router.post("/{id}/discard", responses={409: _NOT_PARKED})
def discard_one(number: Number, body: Reason, actor: Officer, database: DatabaseOf) -> Changed:
    """Give one up: it is no alarm any more.

    Its content is kept; completeness still calls it parked, and the reconciliation discarded.
    """
    return _change(database, "discard_parked", "archive.parked.discard", number, actor, body.reason)


def _reason_of(body: Reason | None) -> str | None:
    return None if body is None else body.reason


def _change(
    database: DatabaseOf, function: str, action: str, number: int, actor: Actor, reason: str | None
) -> Changed:
    with database.transaction() as session:
        changed = _call(session, function, [number], actor, reason)
        if not changed:
            row = session.get(ParkedRow, number)
            if row is None:
                raise _unknown()
            raise Problem(409, f"It is {row.state}: only what is parked can be replayed or discarded.")
        audit.record(session, actor, action, str(number), detail={"reason": reason})
    return Changed(changed=changed)


def _call(session: Session, function: str, ids: list[int] | None, actor: Actor, reason: str | None) -> int:
    """Call one of the archive's functions: this service may change nothing there itself."""
    statement = sqlalchemy.text(f"SELECT archive.{function}(CAST(:ids AS bigint[]), :who, :why)")
    changed: int = session.execute(statement, {"ids": ids, "who": actor.name, "why": reason}).scalar_one()
    return changed


def _listing() -> sqlalchemy.Select[Any]:
    columns = [col(getattr(ParkedRow, name)) for name in Parked.model_fields if name != "bytes"]
    return sqlalchemy.select(*columns, func.length(col(ParkedRow.body)).label("bytes"))


def _unknown() -> Problem:
    return Problem(404, "Nothing was ever parked under this id.", field="id")
