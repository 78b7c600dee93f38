"""The audit trail: who changed policy, and who read what of the archive."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel
from sqlmodel import Session, col, insert, select

from admin_api.database import DatabaseOf
from admin_api.fields import MAX_BIGINT, Limit, Text
from admin_api.principals import Actor, Allow
from admin_api.tables import AuditRow

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
    after: Annotated[
        int, Query(ge=1, le=MAX_BIGINT, description="The `next` of the page before")
    ] = MAX_BIGINT,
    limit: Limit = 100,
) -> AuditPage:
    """List what was done, newest first. An administrator sees the changes of policy only."""
    query = select(AuditRow).where(col(AuditRow.id) < after)
    if actor.role == "administrator":
        query = query.where(col(AuditRow.action).startswith(POLICY_ACTIONS))
    for column, value in ((AuditRow.actor, of_actor), (AuditRow.action, action), (AuditRow.target, target)):
        if value is not None:
            query = query.where(col(column) == value)
    with database.transaction() as session:
        rows = session.exec(query.order_by(col(AuditRow.id).desc()).limit(limit + 1)).all()
    records = [AuditRecord.model_validate(row, from_attributes=True) for row in rows[:limit]]
    return AuditPage(records=records, next=records[-1].id if len(rows) > limit else None)
