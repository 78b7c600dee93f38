"""Front ends: which there are, which version of policy each runs, how each is."""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Security
from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy import ColumnElement
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import and_, col, delete, func, or_, select

from admin_api import metrics
from admin_api.database import DatabaseOf
from admin_api.fields import MAX_BIGINT, Document, Name, NameInPath
from admin_api.principals import Allow
from admin_api.tables import FrontEndRow, VersionRow

log = logging.getLogger("admin-api")

router = APIRouter(prefix="/v1/front-ends", tags=["front ends"])

_LIVE: Final = timedelta(seconds=15)
"""A front end checks in every 5 s: one that missed three is not live."""
_FORGOTTEN: Final = timedelta(days=7)


class CheckIn(Document):
    """How a front end is."""

    pool: Name = Field(examples=["pool1"])
    agent: UUID
    version: Annotated[int, Field(ge=0, le=MAX_BIGINT, description="Of the policy it runs; 0: none")]
    state: Name = Field(examples=["normal"])
    since: AwareDatetime | None = Field(default=None, description="Since when it has been in this state")
    process: UUID | None = Field(
        default=None, description="Another one for each start of a front end; by default `agent`"
    )


class CurrentVersion(BaseModel):
    """The version of policy that a front end should run."""

    version: int
    namesakes: int = Field(description="Other front ends that run under its name")


class FrontEnd(BaseModel):
    """A front end as it last was; ``current`` if it ran the newest version of policy then."""

    name: str
    process: UUID = Field(description="Another one for each start")
    pool: str
    agent: UUID
    version: int
    state: str
    since: datetime | None
    last_seen: datetime
    live: bool
    current: bool
    namesakes: int = Field(description="Others that run under this name: each should have one of its own")


class FrontEndList(BaseModel):
    """All front ends of the last seven days, and the newest version of policy."""

    version: int
    front_ends: list[FrontEnd]


@router.post("/{name:path}/check-in", dependencies=[Security(Allow("frontend"))])
def check_in(name: NameInPath, document: CheckIn, database: DatabaseOf) -> CurrentVersion:
    """Note how a front end is; answer the version of policy it should run."""
    process = document.process or document.agent
    said = document.model_dump() | {"process": process}
    noting = insert(FrontEndRow).values(name=name, **said, last_seen=func.now())
    noting = noting.on_conflict_do_update(
        index_elements=["name", "process"], set_={**said, "last_seen": func.now()}
    )
    with database.transaction() as session:
        session.exec(noting)
        session.exec(delete(FrontEndRow).where(_is_forgotten(name, process)))
        version = session.exec(select(VersionRow.version)).one()
        rows = session.exec(select(FrontEndRow).where(col(FrontEndRow.name) == name)).all()
    metrics.POLICY_VERSION.set(version)
    mine = next(row for row in rows if row.process == process)
    namesakes = _count_namesakes(mine, rows)
    if namesakes:
        log.warning("front ends run under one name", extra={"front_end": name, "others": namesakes})
    return CurrentVersion(version=version, namesakes=namesakes)


def _is_forgotten(name: str, process: UUID) -> ColumnElement[bool]:
    """Rows of long ago, and those of the processes before this one of the same name."""
    last_seen = col(FrontEndRow.last_seen)
    begun = select(FrontEndRow.first_seen).where(
        col(FrontEndRow.name) == name, col(FrontEndRow.process) == process
    )
    followed = and_(col(FrontEndRow.name) == name, last_seen < begun.scalar_subquery())
    return or_(last_seen < func.now() - _FORGOTTEN, and_(last_seen < func.now() - _LIVE, followed))


def _count_namesakes(mine: FrontEndRow, rows: Iterable[FrontEndRow]) -> int:
    """Return how many of the rows, all of one name, are of others that live beside a front end."""
    alive_since = datetime.now(UTC) - _LIVE
    return sum(
        other is not mine
        and min(mine.last_seen, other.last_seen) > alive_since
        and not (_is_followed(mine, [other]) or _is_followed(other, [mine]))
        for other in rows
    )


def _is_followed(mine: FrontEndRow, rows: Iterable[FrontEndRow]) -> bool:
    """Return whether a front end has not been seen since another of its name has: it started anew."""
    return any(mine.last_seen < other.first_seen for other in rows if other is not mine)


@router.get("", dependencies=[Security(Allow("operator", "administrator"))])
def list_front_ends(database: DatabaseOf) -> FrontEndList:
    """List the front ends and the version of policy that each runs."""
    with database.snapshot() as session:
        version = session.exec(select(VersionRow.version)).one()
        rows = session.exec(
            select(FrontEndRow).order_by(col(FrontEndRow.name), col(FrontEndRow.first_seen))
        ).all()
    now = datetime.now(UTC)
    front_ends = [
        FrontEnd(
            **row.model_dump(),
            live=now - row.last_seen < _LIVE,
            current=row.version == version,
            namesakes=_count_namesakes(row, named),
        )
        for named in (list(group) for _, group in groupby(rows, lambda row: row.name))
        for row in named
        if not _is_followed(row, named)
    ]
    return FrontEndList(version=version, front_ends=front_ends)
