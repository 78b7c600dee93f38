"""The query for one IM's trace."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.orm import defer
from sqlmodel import col, select

from admin_api import audit
from admin_api.access.principals import Actor
from admin_api.archive.traces.answers import Trace
from admin_api.archive.traces.steps import Reported, steps_of
from admin_api.database import Database
from admin_api.tables.archive import TraceRow
from contract.message import time_of


def find_trace(database: Database, im_id: UUID, actor: Actor) -> Trace | None:
    """Return the way of an IM, None if it is not archived. Each call is written to the audit trail.

    Raises the exceptions of ``database.UNAVAILABLE``.
    """
    # Of several batches that brought it, the first that was stored when the IM was, or after it, is the one.
    # The database compares: what a damaged row says may be no time that can be read.
    stored_at, batch_stored_at = col(TraceRow.stored_at), col(TraceRow.batch_stored_at)
    query = (
        select(TraceRow)
        .options(defer(stored_at, raiseload=True))  # type: ignore[arg-type]  # an attribute to SQLAlchemy
        .where(col(TraceRow.id) == im_id, col(TraceRow.sent_at) == time_of(im_id))
        .order_by(batch_stored_at < stored_at, batch_stored_at)
    )
    with database.transaction() as session:
        rows = session.exec(query).all()
        audit.record(session, actor, "archive.trace", str(im_id), detail={"count": min(len(rows), 1)})
    return _trace_of(rows) if rows else None


def _trace_of(rows: Sequence[TraceRow]) -> Trace:
    row = rows[0]
    steps: list[Reported] = [
        (
            "accepted",
            row.sent_at,
            {"front_end": row.front_end, "pool": row.pool, "agent": str(row.agent), "seq": row.seq},
        ),
        ("decided", row.sent_at, {"rule": row.rule, "policy_version": row.policy_version}),
    ]
    if row.consumed_at is not None:
        steps += [
            ("published", row.published_at, {"ims": row.publish_ims}),
            ("confirmed", row.confirmed_at, {}),
            ("consumed", row.consumed_at, {"worker": row.worker, "batch": row.batch}),
            ("committed", row.committed_at, {"ims": row.batch_ims}),
            ("acknowledged", row.acknowledged_at, {}),
        ]
    return Trace(
        id=row.id,
        trace_id=row.id.hex,
        deliveries=sum(row.batch_stored_at is not None for row in rows),
        steps=list(steps_of(steps)),
    )
