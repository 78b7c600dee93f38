"""The audit trail: who changed policy, and who read what of the archive."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from psycopg.errors import QueryCanceled
from pydantic import BaseModel
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, col, insert, select
from sqlmodel.sql.expression import SelectOfScalar

from admin_api.bulkheads import DatabaseOf
from admin_api.database import Database
from admin_api.fields import MAX_BIGINT, After, Limit, Text
from admin_api.principals import Actor, Allow
from admin_api.tables import AuditRow, holds
from contract.problem import Problem

router = APIRouter(tags=["audit"])

POLICY_ACTIONS = "policy."
"""What the actions begin with that change policy; others are reads of the archive."""


def record(
    session: Session,
    actor: Actor,
    action: str,
    target: str,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    version: int | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Write that somebody does something; it counts once the session's transaction is committed."""
    session.exec(
        insert(AuditRow).values(
            actor=actor.name,
            role=actor.role,
            action=action,
            target=target,
            before=before,
            after=after,
            version=version,
            detail=detail,
        )
    )


@contextmanager
def attempt(
    database: Database, actor: Actor, action: str, target: str, detail: dict[str, Any], advice: str
) -> Iterator[None]:
    """Within it somebody reads: if the database takes too long, the trail has the attempt all the same.

    Raises Problem (503) that says so, with ``advice``: what to ask for instead.
    """
    try:
        yield
    except OperationalError as error:
        if not isinstance(error.orig, QueryCanceled):
            raise
        with database.transaction() as session:
            record(session, actor, action, target, detail=detail | {"failed": "it took too long"})
        raise Problem(503, f"It took too long, and nothing was read. {advice}") from None


class AuditRecord(BaseModel):
    """One thing that was done."""

    id: int
    at: datetime
    actor: str
    role: str
    action: str
    target: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    version: int | None
    detail: dict[str, Any] | None


class AuditPage(BaseModel):
    """Some records, newest first; ``next`` is the ``after`` of the page that follows, null on the last."""

    records: list[AuditRecord]
    next: int | None


@router.get("/v1/audit")
def list_audit(
    actor: Annotated[Actor, Depends(Allow("compliance", "administrator"))],
    database: DatabaseOf,
    *,
    of_actor: Annotated[Text | None, Query(alias="actor", description="Who did it")] = None,
    action: Annotated[Text | None, Query(examples=["policy.user.put", "archive.search"])] = None,
    target: Annotated[Text | None, Query(examples=["sip:yannis@contoso.com"])] = None,
    after: After = MAX_BIGINT,
    limit: Limit = 100,
) -> AuditPage:
    """List what was done, newest first. An administrator sees the changes of policy only."""
    query = query_of(of_actor, action, target, policy_only=actor.role == "administrator")
    with database.transaction() as session:
        rows = session.exec(query.where(col(AuditRow.id) < after).limit(limit + 1)).all()
    records = [AuditRecord.model_validate(row, from_attributes=True) for row in rows[:limit]]
    return AuditPage(records=records, next=records[-1].id if len(rows) > limit else None)


def query_of(
    actor: str | None = None, action: str | None = None, target: str | None = None, *, policy_only: bool
) -> SelectOfScalar[AuditRow]:
    """Return the query for records, newest first."""
    query = select(AuditRow).order_by(col(AuditRow.id).desc())
    if policy_only:
        query = query.where(col(AuditRow.action).startswith(POLICY_ACTIONS))
    for column, value in ((AuditRow.actor, actor), (AuditRow.action, action)):
        if value is not None:
            query = query.where(col(column) == value)
    if target is not None:
        query = query.where(holds(col(AuditRow.target), [target]))
    return query
