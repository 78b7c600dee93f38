"""Completeness: is every IM that was accepted in the archive? If not, which are missing."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

import sqlalchemy
from fastapi import APIRouter, Query, Security
from pydantic import BaseModel, Field
from sqlalchemy.dialects.postgresql import Range
from sqlmodel import col, func, select

from admin_api import audit, metrics
from admin_api.access.bulkheads import DatabaseOf
from admin_api.access.principals import Actor, Allow
from admin_api.archive.parked.routes import Changed, Reason
from admin_api.database import UNAVAILABLE, Database
from admin_api.http.fields import Limit, Name
from admin_api.http.openapi import problem
from admin_api.tables.archive import AgentCompleteness
from admin_api.tables.policy import PoolRow
from runtime.problem import Problem

router = APIRouter(tags=["completeness"])

Operator = Annotated[Actor, Security(Allow("operator"))]

_DISOWN: Final = sqlalchemy.text("SELECT archive.disown_agent(:agent, :who, :why)")
_OWN: Final = sqlalchemy.text("SELECT archive.own_agent(:agent)")
_READ_UNTIL: Final = sqlalchemy.text("SELECT until FROM archive.read_until")
_PARKED: Final = sqlalchemy.text(
    "SELECT kind, sum(CASE kind WHEN 'im' THEN ims ELSE 1 END)"
    " FROM archive.parked_ims WHERE state IN ('parked', 'replaying') GROUP BY kind"
)
_WEAKENED: Final = sqlalchemy.text(
    "SELECT version FROM policy.audit WHERE weakened AND at > now() - interval '1 hour'"
    " ORDER BY at DESC, id DESC LIMIT 20"
)
_NUMBERS: Final = {"missing_numbers", "disowned_numbers"}


class Totals(BaseModel):
    """Numbers of IMs. ``accepted`` = ``archived`` + ``parked`` + ``missing`` + ``waiting``."""

    agents: int
    accepted: int
    archived: int
    parked: int
    missing: int = Field(description="What came after them, or was told after them, is there: they are not")
    waiting: int = Field(description="Their front end tells of them; they may still be on the queue")
    disowned: int = Field(description="Would be missing, but somebody has disowned them")


class AgentCounts(BaseModel):
    """The IMs of an archiving agent: one start of a front end."""

    agent: UUID
    pool: str
    front_end: str | None
    first_seen: datetime
    last_seen: datetime
    ended_at: datetime | None
    accepted: int
    archived: int
    parked: int
    missing: int
    missing_numbers: list[tuple[int, int]] = Field(
        description="Ranges: from, to", examples=[[[17, 17], [20, 31]]]
    )
    waiting: int
    disowned: int
    disowned_numbers: list[tuple[int, int]]
    disowned_at: datetime | None
    disowned_by: str | None
    disowned_why: str | None


class Completeness(BaseModel):
    """Totals of all agents asked for; of the agents themselves the first, those with holes before others."""

    totals: Totals
    read_until: datetime | None = Field(description="What was put on the queue before was read by workers")
    agents: list[AgentCounts]


@router.get(
    "/v1/completeness",
    dependencies=[Security(Allow("operator", "compliance"))],
    responses={404: problem("There is no such pool")},
)
def get_completeness(
    database: DatabaseOf,
    pool: Annotated[Name | None, Query(examples=["pool1"])] = None,
    limit: Limit = 100,
) -> Completeness:
    """Count what the archiving agents numbered and what of it is in the archive.

    Agents tell how far they got on the queue, behind their IMs, and front ends tell it here as well. What was
    told here alone is `waiting`, however long the queue is, until something later comes from the queue or
    workers have read it up to then; what is not there then is `missing`, until it is archived after all. For
    seconds so is what one worker still has in its hands while another has stored what came later.
    """
    found = count_all(database, pool, limit)
    if pool is not None and not found.totals.agents:
        with database.transaction() as session:
            if session.get(PoolRow, pool) is None:
                raise Problem(404, "No such pool was ever heard of.", field="pool")
    return found


@router.post(
    "/v1/completeness/{agent}/disown", responses={409: problem("Nothing of it is missing, or it works")}
)
def disown(agent: UUID, body: Reason, actor: Operator, database: DatabaseOf) -> Changed:
    """Count what is missing of an agent now as missing no longer: it can't be restored, or never was.

    It is shown as disowned, with who did it and why; what is missing later counts again.
    """
    values = {"agent": agent, "who": actor.name, "why": body.reason}
    with database.transaction() as session:
        changed = session.execute(_DISOWN, values).scalar()
        if changed is None:
            raise _unknown()
        if not changed:
            raise Problem(409, "Nothing of it is missing.")
        audit.record(
            session,
            actor,
            "archive.agent.disown",
            str(agent),
            detail={"reason": body.reason, "missing": changed},
        )
    return Changed(changed=changed)


@router.post("/v1/completeness/{agent}/own", responses={409: problem("Nothing of it is disowned")})
def own(agent: UUID, body: Reason, actor: Operator, database: DatabaseOf) -> Changed:
    """Take it back: what was disowned of an agent, and is not there, counts as missing again."""
    with database.transaction() as session:
        changed = session.execute(_OWN, {"agent": agent}).scalar_one()
        if not changed:
            raise Problem(409, "Nothing of it is disowned.")
        audit.record(session, actor, "archive.agent.own", str(agent), detail={"reason": body.reason})
    return Changed(changed=changed)


def _unknown() -> Problem:
    return Problem(404, "No such agent was ever heard of.", field="agent")


def count_all(database: Database, pool: str | None = None, limit: int = 100) -> Completeness:
    """Return the totals, and the first ``limit`` agents. Raises what ``database.UNAVAILABLE`` names."""
    table = AgentCompleteness
    of_pool = [] if pool is None else [col(table.pool) == pool]
    names = [name for name in Totals.model_fields if name != "agents"]
    sums = [func.coalesce(func.sum(col(getattr(table, name))), 0).label(name) for name in names]
    summing = sqlalchemy.select(func.count().label("agents"), *sums).select_from(table).where(*of_pool)
    order = (table.missing, table.disowned, table.waiting, table.last_seen)
    listing = select(table).where(*of_pool).order_by(*(col(column).desc() for column in order)).limit(limit)
    with database.snapshot() as session:
        totals = Totals.model_validate(dict(session.execute(summing).mappings().one()))
        rows = session.exec(listing).all()
        read_until = session.execute(_READ_UNTIL).scalar()
    return Completeness(
        totals=totals,
        read_until=read_until,
        agents=[
            AgentCounts(
                **row.model_dump(exclude=_NUMBERS),
                **{name: [_inclusive(each) for each in getattr(row, name)] for name in _NUMBERS},
            )
            for row in rows
        ],
    )


def show_counts(database: Database) -> bool:
    """Bring the metrics of what the database holds up to date; return whether it could be counted.

    While it can't, there are none of what is archived.
    """
    table = AgentCompleteness
    gauges = metrics.COMPLETENESS
    sums = [func.sum(col(getattr(table, name))) for name in gauges]
    query = sqlalchemy.select(col(table.pool), *sums).group_by(col(table.pool))
    try:
        with database.snapshot() as session:
            rows = session.execute(query).all()
            parked = dict(session.execute(_PARKED).all())
            weakened = session.execute(_WEAKENED).scalars().all()
            size = session.scalar(sqlalchemy.select(func.pg_database_size(func.current_database())))
    except UNAVAILABLE:
        metrics.DATABASE_CONNECTED.set(0)
        for gauge in gauges.values():
            gauge.clear()
        return False
    metrics.DATABASE_CONNECTED.set(1)
    metrics.ARCHIVE_SIZE.set(size or 0)
    metrics.POLICY_WEAKENED.clear()
    metrics.POLICY_WEAKENED.labels("").set(0)  # none: else there would be no series to alert on
    for version in weakened:
        metrics.POLICY_WEAKENED.labels(version).set(1)
    for kind, parked_gauge in metrics.PARKED.items():
        parked_gauge.set(parked.get(kind, 0))
    for pool, *counts in rows:
        for gauge, count in zip(gauges.values(), counts, strict=True):
            gauge.labels(pool).set(count)
    return True


def _inclusive(numbers: Range[int]) -> tuple[int, int]:
    # PostgreSQL's canonical ranges of integers have both ends, and exclude the upper.
    assert numbers.lower is not None and numbers.upper is not None
    return numbers.lower, numbers.upper - 1


def lines_of(found: Completeness) -> Iterator[str]:
    """Say it for a person: a line for each agent with a hole, and the totals."""
    for agent in found.agents:
        if agent.missing:
            ranges = (f"{first}-{last}" for first, last in agent.missing_numbers)
            who = f"agent {agent.agent} ({agent.front_end or '?'}, {agent.pool})"
            yield f"{who}: {agent.missing} missing: {', '.join(ranges)}"
        if agent.disowned:
            by = f"{agent.disowned_by}: {agent.disowned_why}"
            yield f"agent {agent.agent}: {agent.disowned} disowned by {by}"
    totals = found.totals
    waiting = f", {totals.waiting} waiting" if totals.waiting else ""
    yield (
        f"{totals.agents} agents: {totals.accepted} accepted, {totals.archived} archived,"
        f" {totals.parked} parked, {totals.missing} missing{waiting}"
    )
