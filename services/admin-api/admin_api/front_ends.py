"""Front ends: which there are, which version of policy each runs, how each is."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Security
from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, delete, func, select

from admin_api import metrics
from admin_api.database import DatabaseOf
from admin_api.fields import MAX_BIGINT, Document, Name, NameInPath
from admin_api.principals import Allow
from admin_api.tables import FrontEndRow, VersionRow

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


class CurrentVersion(BaseModel):
    """The version of policy that a front end should run."""

    version: int


class FrontEnd(BaseModel):
    """A front end as it last was; ``current`` if it ran the newest version of policy then."""

    name: str
    pool: str
    agent: UUID
    version: int
    state: str
    since: datetime | None
    last_seen: datetime
    live: bool
    current: bool


class FrontEndList(BaseModel):
    """All front ends of the last seven days, and the newest version of policy."""

    version: int
    front_ends: list[FrontEnd]


@router.post("/{name:path}/check-in", dependencies=[Security(Allow("frontend"))])
def check_in(name: NameInPath, document: CheckIn, database: DatabaseOf) -> CurrentVersion:
    """Note how a front end is; answer the version of policy it should run."""
    said = document.model_dump()
    noting = insert(FrontEndRow).values(name=name, **said, last_seen=func.now())
    noting = noting.on_conflict_do_update(index_elements=["name"], set_={**said, "last_seen": func.now()})
    with database.transaction() as session:
        session.exec(noting)
        session.exec(delete(FrontEndRow).where(col(FrontEndRow.last_seen) < func.now() - _FORGOTTEN))
        version = session.exec(select(VersionRow.version)).one()
    metrics.POLICY_VERSION.set(version)
    return CurrentVersion(version=version)


@router.get("", dependencies=[Security(Allow("operator", "administrator"))])
def list_front_ends(database: DatabaseOf) -> FrontEndList:
    """List the front ends and the version of policy that each runs."""
    with database.snapshot() as session:
        version = session.exec(select(VersionRow.version)).one()
        rows = session.exec(select(FrontEndRow).order_by(col(FrontEndRow.name))).all()
    now = datetime.now(UTC)
    front_ends = [
        FrontEnd(**row.model_dump(), live=now - row.last_seen < _LIVE, current=row.version == version)
        for row in rows
    ]
    return FrontEndList(version=version, front_ends=front_ends)
