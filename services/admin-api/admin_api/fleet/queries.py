"""Queries for front ends."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Final
from uuid import UUID

import sqlalchemy
from sqlalchemy import BigInteger, ColumnElement, literal
from sqlalchemy.dialects.postgresql import ARRAY, Insert, insert
from sqlmodel import Session, and_, col, delete, func, or_, select

from admin_api.fleet.answers import CheckIn, FrontEnd, FrontEndList, Numbers
from admin_api.tables.policy import FrontEndRow, VersionRow

_LIVE: Final = timedelta(seconds=15)
"""A front end checks in every 5 s: one that missed three check-ins is not live."""
_FORGOTTEN: Final = timedelta(days=7)
_LOG: Final = sqlalchemy.text(
    "SELECT archive.log_witness(:front_end, :pool, :agents, :confirmed, :ended)"
).bindparams(
    sqlalchemy.bindparam("agents", type_=ARRAY(sqlalchemy.Uuid)),
    sqlalchemy.bindparam("confirmed", type_=ARRAY(sqlalchemy.BigInteger)),
    sqlalchemy.bindparam("ended", type_=ARRAY(sqlalchemy.Boolean)),
)
_INCARNATION: Final = sqlalchemy.text("SELECT archive.incarnation()")


def note_check_in(
    session: Session, name: str, process: UUID, document: CheckIn, differs: bool | None
) -> tuple[VersionRow, int]:
    """Note a check-in; return the newest version of policy, and how many other front ends use the name.

    ``differs``: the front end's policy is not its version's; None if that is not known.
    """
    session.exec(_upsert(name, process, document, differs))
    session.exec(delete(FrontEndRow).where(_is_forgotten(name, process)))
    version = session.exec(select(VersionRow)).one()
    rows = session.exec(select(FrontEndRow).where(col(FrontEndRow.name) == name)).all()
    mine = next(row for row in rows if row.process == process)
    return version, _count_namesakes(mine, rows)


def _upsert(name: str, process: UUID, document: CheckIn, differs: bool | None) -> Insert:
    """Return the statement that notes a check-in. ``highest`` is that of all processes of the name."""
    known = select(func.max(FrontEndRow.highest)).where(col(FrontEndRow.name) == name)
    values = document.model_dump(exclude={"digest"}) | {
        "process": process,
        "last_seen": func.now(),
        "highest": func.greatest(literal(document.version, BigInteger), known.scalar_subquery()),
    }
    if differs is not None:
        values["differs"] = differs
    if differs:
        values["differed_at"] = func.now()
    statement = insert(FrontEndRow).values(name=name, **values)
    return statement.on_conflict_do_update(
        index_elements=["name", "process"], set_=values | {"highest": statement.excluded.highest}
    )


def _is_forgotten(name: str, process: UUID) -> ColumnElement[bool]:
    """Return the condition for rows of long ago, and for rows of a name's processes before this one."""
    last_seen = col(FrontEndRow.last_seen)
    begun = select(FrontEndRow.first_seen).where(
        col(FrontEndRow.name) == name, col(FrontEndRow.process) == process
    )
    followed = and_(col(FrontEndRow.name) == name, last_seen < begun.scalar_subquery())
    return or_(last_seen < func.now() - _FORGOTTEN, and_(last_seen < func.now() - _LIVE, followed))


def find_front_ends(session: Session) -> FrontEndList:
    """Return the front ends by name, and the newest version of policy. The session is a snapshot."""
    version, stamp = session.exec(select(VersionRow.version, VersionRow.stamp)).one()
    rows = session.exec(
        select(FrontEndRow).order_by(col(FrontEndRow.name), col(FrontEndRow.first_seen))
    ).all()
    now = datetime.now(UTC)
    front_ends = [
        FrontEnd(
            **row.model_dump(),
            live=now - row.last_seen < _LIVE,
            current=row.version == version and row.stamp in (stamp, None) and not row.differs,
            namesakes=_count_namesakes(row, named),
        )
        for named in (list(group) for _, group in groupby(rows, lambda row: row.name))
        for row in named
        if not _is_followed(row, named)
    ]
    return FrontEndList(version=version, stamp=stamp, front_ends=front_ends)


def _count_namesakes(mine: FrontEndRow, rows: Iterable[FrontEndRow]) -> int:
    """Return the number of other live front ends under the same name. ``rows``: all of that name."""
    alive_since = datetime.now(UTC) - _LIVE
    return sum(
        other is not mine
        and min(mine.last_seen, other.last_seen) > alive_since
        and not (_is_followed(mine, [other]) or _is_followed(other, [mine]))
        for other in rows
    )


def _is_followed(mine: FrontEndRow, rows: Iterable[FrontEndRow]) -> bool:
    """Return whether another process of the name began after a front end's last check-in: a restart."""
    return any(mine.last_seen < other.first_seen for other in rows if other is not mine)


def log_witness(session: Session, name: str, document: Numbers) -> UUID:
    """Note how far a front end's agents got; return the archive's incarnation."""
    values = {
        "front_end": name,
        "pool": document.pool,
        "agents": [each.agent for each in document.numbers],
        "confirmed": [each.confirmed for each in document.numbers],
        "ended": [each.ended for each in document.numbers],
    }
    session.connection().execute(_LOG, values)
    incarnation: UUID = session.execute(_INCARNATION).scalar_one()
    return incarnation
