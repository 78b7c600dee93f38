"""Figures of the database, sampled for Prometheus."""

from typing import Final

import sqlalchemy
from sqlmodel import col, func

from admin_api import metrics
from admin_api.database import UNAVAILABLE, Database
from admin_api.tables.archive import AgentCompleteness

_PARKED: Final = sqlalchemy.text(
    "SELECT kind, sum(CASE kind WHEN 'im' THEN ims ELSE 1 END)"
    " FROM archive.parked_ims WHERE state IN ('parked', 'replaying') GROUP BY kind"
)
_WEAKENED: Final = sqlalchemy.text(
    "SELECT version FROM policy.audit WHERE weakened AND at > now() - interval '1 hour'"
    " ORDER BY at DESC, id DESC LIMIT 20"
)


def show_counts(database: Database) -> bool:
    """Update the metrics of the database; return whether it could be counted.

    While it cannot, there are no metrics of archived IMs.
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
