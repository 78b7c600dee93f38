"""Front ends: which there are, which version of policy each runs, how each is."""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, BackgroundTasks, Security
from pydantic import BaseModel, Field
from sqlalchemy import BigInteger, ColumnElement, literal
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlmodel import and_, col, delete, func, or_, select

from admin_api import metrics
from admin_api.access.bulkheads import DatabaseOf
from admin_api.access.principals import Allow
from admin_api.http.fields import Document, Name, NameInPath, Time, Version
from admin_api.names.looks import IfAny
from admin_api.policy.digests import DigestsOf
from admin_api.policy.snapshots import SnapshotsOf
from admin_api.tables.policy import FrontEndRow, VersionRow

log = logging.getLogger("admin-api")

router = APIRouter(prefix="/v1/front-ends", tags=["front ends"])

_LIVE: Final = timedelta(seconds=15)
"""A front end checks in every 5 s: one that missed three is not live."""
_FORGOTTEN: Final = timedelta(days=7)


class CheckIn(Document):
    """How a front end is."""

    pool: Name = Field(examples=["pool1"])
    agent: UUID
    version: Annotated[Version, Field(description="Of the policy it runs; 0: none")]
    state: Name = Field(examples=["normal"])
    since: Time | None = Field(default=None, description="Since when it has been in this state")
    process: UUID | None = Field(
        default=None, description="Another one for each start of a front end; by default `agent`"
    )
    stamp: UUID | None = Field(default=None, description="Of its version")
    digest: str | None = Field(
        default=None, max_length=100, description="Of the policy that it holds, once it has made one"
    )


class CurrentVersion(BaseModel):
    """The version of policy that a front end should run."""

    version: int
    stamp: UUID
    anew: bool = Field(description="What it holds is not what its version says: it should fetch everything")
    namesakes: int = Field(description="Other front ends that run under its name")


class FrontEnd(BaseModel):
    """A front end as it last was; ``current`` if it ran the newest version of policy then.

    Of one that says no stamp, because it is older than stamps, the number alone is known.
    """

    name: str
    process: UUID = Field(description="Another one for each start")
    pool: str
    agent: UUID
    version: int
    stamp: IfAny[UUID] = None
    state: str
    since: datetime | None
    last_seen: datetime
    live: bool
    current: bool
    namesakes: int = Field(description="Others that run under this name: each should have one of its own")
    differed_at: IfAny[datetime] = Field(
        None, description="When it last held another policy than its version's: it was told to fetch all anew"
    )


class FrontEndList(BaseModel):
    """All front ends of the last seven days, and the newest version of policy."""

    version: int
    stamp: UUID
    front_ends: list[FrontEnd]


@router.post("/{name:path}/check-in", dependencies=[Security(Allow("frontend"))])
def check_in(
    name: NameInPath,
    document: CheckIn,
    database: DatabaseOf,
    digests: DigestsOf,
    snapshots: SnapshotsOf,
    later: BackgroundTasks,
) -> CurrentVersion:
    """Note how a front end is; answer the version of policy it should run."""
    process = document.process or document.agent
    differs = _differ(document.digest, digests.find(document.version, document.stamp))
    with database.transaction() as session:
        session.exec(_noting(name, process, document, differs))
        session.exec(delete(FrontEndRow).where(_is_forgotten(name, process)))
        version, stamp = session.exec(select(VersionRow.version, VersionRow.stamp)).one()
        rows = session.exec(select(FrontEndRow).where(col(FrontEndRow.name) == name)).all()
    metrics.POLICY_VERSION.set(version)
    mine = next(row for row in rows if row.process == process)
    namesakes = _count_namesakes(mine, rows)
    if namesakes:
        log.warning("front ends run under one name", extra={"front_end": name, "others": namesakes})
    if document.digest is not None:
        later.add_task(digests.refresh, database)
    if differs:
        metrics.POLICY_DIFFERENCES.inc()
        snapshots.forget()
        log.error("a front end's policy is not its version's", extra={"front_end": name, "version": version})
    return CurrentVersion(version=version, stamp=stamp, anew=bool(differs), namesakes=namesakes)


def _differ(theirs: str | None, ours: str | None) -> bool | None:
    """Return whether two digests differ; None if nobody can tell: one is missing, or of another form."""
    if theirs is None or ours is None or theirs.partition(":")[0] != ours.partition(":")[0]:
        return None
    return theirs != ours


def _noting(name: str, process: UUID, document: CheckIn, differs: bool | None) -> Insert:
    """Return what notes a check-in. The highest version is that of all processes of the name."""
    known = select(func.max(FrontEndRow.highest)).where(col(FrontEndRow.name) == name)
    said = document.model_dump(exclude={"digest"}) | {
        "process": process,
        "last_seen": func.now(),
        "highest": func.greatest(literal(document.version, BigInteger), known.scalar_subquery()),
    }
    if differs is not None:
        said["differs"] = differs
    if differs:
        said["differed_at"] = func.now()
    noting = insert(FrontEndRow).values(name=name, **said)
    return noting.on_conflict_do_update(
        index_elements=["name", "process"], set_=said | {"highest": noting.excluded.highest}
    )


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
