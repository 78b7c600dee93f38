"""Queries for parked IMs and call detail records."""

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy
from sqlmodel import Session, col, func, select

from admin_api.access.principals import Actor
from admin_api.archive.parked.answers import Parked, ParkedPage, State
from admin_api.tables.archive import ParkedRow

_REPLAY: Final = sqlalchemy.text("SELECT archive.request_replay(CAST(:ids AS bigint[]), :who, :why)")
_DISCARD: Final = sqlalchemy.text("SELECT archive.discard_parked(CAST(:ids AS bigint[]), :who, :why)")


def find_parked_page(session: Session, state: State | None, after: int, limit: int) -> ParkedPage:
    """Return a page without contents, newest first; ``after``: with numbers below it."""
    query = _listing().where(col(ParkedRow.id) < after)
    if state is not None:
        query = query.where(col(ParkedRow.state) == state)
    waiting = select(func.coalesce(func.sum(col(ParkedRow.ims)), 0)).where(
        col(ParkedRow.state).in_(("parked", "replaying"))
    )
    rows = session.execute(query.order_by(col(ParkedRow.id).desc()).limit(limit + 1)).mappings().all()
    parked = [Parked.model_validate(dict(row)) for row in rows[:limit]]
    return ParkedPage(
        parked=parked,
        next=parked[-1].id if len(rows) > limit else None,
        waiting=session.exec(waiting).one(),
    )


def _listing() -> sqlalchemy.Select[Any]:
    columns = [col(getattr(ParkedRow, name)) for name in Parked.model_fields if name != "bytes"]
    return sqlalchemy.select(*columns, func.length(col(ParkedRow.body)).label("bytes"))


def find_parked(session: Session, number: int) -> ParkedRow | None:
    """Return the row of a number, with its content."""
    return session.get(ParkedRow, number)


def request_replay(session: Session, numbers: Sequence[int] | None, actor: Actor, reason: str | None) -> int:
    """Have workers store some parked rows again; None: all. Return the number of rows."""
    return _call(session, _REPLAY, numbers, actor, reason)


def discard(session: Session, numbers: Sequence[int] | None, actor: Actor, reason: str | None) -> int:
    """Discard some parked rows; None: all. Return the number of rows."""
    return _call(session, _DISCARD, numbers, actor, reason)


def _call(
    session: Session,
    function: sqlalchemy.TextClause,
    numbers: Sequence[int] | None,
    actor: Actor,
    reason: str | None,
) -> int:
    """Call a function of the archive: this service may not change the rows itself."""
    values = {"ids": numbers, "who": actor.name, "why": reason}
    changed: int = session.execute(function, values).scalar_one()
    return changed
