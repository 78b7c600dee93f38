"""Completeness: is every IM that was accepted in the archive? If not, which are missing."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated
from uuid import UUID

import sqlalchemy
from fastapi import APIRouter, Query, Security
from pydantic import BaseModel, Field
from sqlalchemy.dialects.postgresql import Range
from sqlmodel import col, func, select

from admin_api import metrics
from admin_api.database import UNAVAILABLE, Database, DatabaseOf
from admin_api.fields import Limit, Name
from admin_api.principals import Allow
from admin_api.tables import AgentCompleteness

router = APIRouter(tags=["completeness"])


class Totals(BaseModel):
    """Numbers of IMs. ``accepted`` = ``archived`` + ``parked`` + ``missing``."""

    agents: int
    accepted: int
    archived: int
    parked: int
    missing: int


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


class Completeness(BaseModel):
    """Totals of all agents asked for; of the agents themselves the first, those with holes before others."""

    totals: Totals
    agents: list[AgentCounts]


@router.get("/v1/completeness", dependencies=[Security(Allow("operator", "compliance"))])
def get_completeness(
    database: DatabaseOf,
    pool: Annotated[Name | None, Query(examples=["pool1"])] = None,
    limit: Limit = 100,
) -> Completeness:
    """Count what the archiving agents numbered and what of it is in the archive.

    As soon as its agent has told of an IM, or a later one is archived, it counts as missing until it is
    archived itself: so do those that still wait in the queue.
    """
    return count_all(database, pool, limit)


def count_all(database: Database, pool: str | None = None, limit: int = 100) -> Completeness:
    """Return the totals, and the first ``limit`` agents. Raises what ``database.UNAVAILABLE`` names."""
    table = AgentCompleteness
    of_pool = [] if pool is None else [col(table.pool) == pool]
    columns = (table.accepted, table.archived, table.parked, table.missing)
    sums = [func.coalesce(func.sum(col(column)), 0) for column in columns]
    summing = sqlalchemy.select(func.count(), *sums).select_from(table).where(*of_pool)
    listing = select(table).where(*of_pool)
    listing = listing.order_by(col(table.missing).desc(), col(table.last_seen).desc()).limit(limit)
    with database.snapshot() as session:
        agents, accepted, archived, parked, missing = session.execute(summing).one()
        rows = session.exec(listing).all()
    return Completeness(
        totals=Totals(agents=agents, accepted=accepted, archived=archived, parked=parked, missing=missing),
        agents=[
            AgentCounts(
                **row.model_dump(exclude={"missing_numbers"}),
                missing_numbers=[_inclusive(numbers) for numbers in row.missing_numbers],
            )
            for row in rows
        ],
    )


def show_counts(database: Database) -> None:
    """Bring the metrics of what is archived up to date; while the database is away there are none."""
    table = AgentCompleteness
    gauges = metrics.COMPLETENESS
    sums = [func.sum(col(getattr(table, name))) for name in gauges]
    query = sqlalchemy.select(col(table.pool), *sums).group_by(col(table.pool))
    try:
        with database.snapshot() as session:
            rows = session.execute(query).all()
            size = session.scalar(sqlalchemy.select(func.pg_database_size(func.current_database())))
    except UNAVAILABLE:
        metrics.DATABASE_CONNECTED.set(0)
        for gauge in gauges.values():
            gauge.clear()
        return
    metrics.DATABASE_CONNECTED.set(1)
    metrics.ARCHIVE_SIZE.set(size or 0)
    for pool, *counts in rows:
        for gauge, count in zip(gauges.values(), counts, strict=True):
            gauge.labels(pool).set(count)


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
    totals = found.totals
    yield (
        f"{totals.agents} agents: {totals.accepted} accepted, {totals.archived} archived,"
        f" {totals.parked} parked, {totals.missing} missing"
    )
