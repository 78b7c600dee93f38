"""Attempts to talk past the archive, from the call detail records: by person, the most frequent first."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel
from sqlmodel import col, func, select

from admin_api import audit
from admin_api.access.bulkheads import DatabaseOf
from admin_api.access.principals import Officer
from admin_api.http.fields import Time
from admin_api.tables.cdr import AttemptRow

router = APIRouter(prefix="/v1/cdr/attempts", tags=["call detail records"])


class Attempts(BaseModel):
    """Attempts of one person's clients: how many of which kind, and when last."""

    address: str
    attempts: int
    kinds: dict[str, int]
    last_at: datetime


class AttemptList(BaseModel):
    """Those who tried, the most frequent first."""

    people: list[Attempts]


@router.get("")
def list_attempts(
    actor: Officer,
    database: DatabaseOf,
    since: Annotated[Time, Query(alias="from", examples=["2026-01-31T00:00:00Z"])],
    until: Annotated[Time, Query(alias="to", examples=["2026-02-01T00:00:00Z"])],
    limit: Annotated[int, Query(ge=1, le=1000, description="How many people at most")] = 100,
) -> AttemptList:
    """List people whose clients tried to talk past the archive, in sessions that ended within these times.

    Kinds: `msrp`, `t140`, `datachannel`, `file`, `fax`, `other` were refused; `disguised` is a text under the
    name of a typing notice or a receipt, which was archived. It is audited.
    """
    parameters = {"from": since.isoformat(), "to": until.isoformat(), "limit": limit}
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
    with database.transaction() as session:
        people = [
            Attempts(address=address, attempts=attempts, kinds=kinds, last_at=last)
            for address, attempts, kinds, last in session.exec(query)
        ]
        detail = {"parameters": parameters, "count": len(people)}
        audit.record(session, actor, "cdr.attempts", "sessions", detail=detail)
    return AttemptList(people=people)
