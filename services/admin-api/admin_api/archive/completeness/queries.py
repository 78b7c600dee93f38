"""Queries that count IMs by agent."""

from typing import Final
from uuid import UUID

import sqlalchemy
from sqlalchemy.dialects.postgresql import Range
from sqlmodel import Session, col, func, select

from admin_api.access.principals import Actor
from admin_api.archive.completeness.answers import AgentCounts, Completeness, Totals
from admin_api.database import Database
from admin_api.tables.archive import AgentCompleteness
from admin_api.tables.policy import PoolRow

_DISOWN: Final = sqlalchemy.text("SELECT archive.disown_agent(:agent, :who, :why)")
_OWN: Final = sqlalchemy.text("SELECT archive.own_agent(:agent)")
_READ_UNTIL: Final = sqlalchemy.text("SELECT until FROM archive.read_until")
_NUMBERS: Final = {"missing_numbers", "disowned_numbers"}


def count_all(database: Database, pool: str | None = None, limit: int = 100) -> Completeness:
    """Return the totals, and the first ``limit`` agents. Raises errors of ``database.UNAVAILABLE``."""
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


def _inclusive(numbers: Range[int]) -> tuple[int, int]:
    # PostgreSQL's canonical ranges of integers have both ends, and exclude the upper.
    assert numbers.lower is not None and numbers.upper is not None
    return numbers.lower, numbers.upper - 1


def is_pool(session: Session, name: str) -> bool:
    """Return whether policy has settings of a pool."""
    return session.get(PoolRow, name) is not None


def disown_agent(session: Session, agent: UUID, actor: Actor, reason: str) -> int | None:
    """Disown an agent's missing numbers; return how many, None if there is no such agent."""
    values = {"agent": agent, "who": actor.name, "why": reason}
    changed: int | None = session.execute(_DISOWN, values).scalar()
    return changed


def own_agent(session: Session, agent: UUID) -> int:
    """Take an agent's disowned numbers back; return how many."""
    changed: int = session.execute(_OWN, {"agent": agent}).scalar_one()
    return changed
