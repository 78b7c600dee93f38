"""The second witness: front ends tell the admin API how far their agents got, beside the queue."""

from typing import Annotated, Final
from uuid import UUID

import sqlalchemy
from fastapi import APIRouter, Security
from pydantic import BaseModel, Field, StrictBool
from sqlalchemy.dialects.postgresql import ARRAY

from admin_api.access.bulkheads import DatabaseOf
from admin_api.access.principals import Allow
from admin_api.http.fields import Document, Integer, Name, NameInPath
from contract.message import MAX_SEQ

router = APIRouter(prefix="/v1/front-ends", tags=["front ends"])

_LOG: Final = sqlalchemy.text(
    "SELECT archive.log_witness(:front_end, :pool, :agents, :confirmed, :ended)"
).bindparams(
    sqlalchemy.bindparam("agents", type_=ARRAY(sqlalchemy.Uuid)),
    sqlalchemy.bindparam("confirmed", type_=ARRAY(sqlalchemy.BigInteger)),
    sqlalchemy.bindparam("ended", type_=ARRAY(sqlalchemy.Boolean)),
)
_INCARNATION: Final = sqlalchemy.text("SELECT archive.incarnation()")


class AgentNumbers(Document):
    """How far an archiving agent got."""

    agent: UUID
    confirmed: Annotated[Integer, Field(ge=0, le=MAX_SEQ, description="By the broker: up to this number")]
    ended: StrictBool = Field(default=False, description="It numbers no more")


class Numbers(Document):
    """What a front end tells of the agents that it knows of, its own and those that it adopted."""

    pool: Name = Field(examples=["pool1"])
    numbers: list[AgentNumbers] = Field(max_length=1000)


class Noted(BaseModel):
    """Where it is noted."""

    incarnation: UUID = Field(
        description="The archive's. Another: it was restored; tell again of all agents that ended"
    )


@router.post("/{name:path}/numbers", dependencies=[Security(Allow("frontend"))])
def note_numbers(name: NameInPath, document: Numbers, database: DatabaseOf) -> Noted:
    """Note how far agents got. Completeness counts with it if the queue is lost with what says so there, or
    the archive is restored to before they began."""
    values = {
        "front_end": name,
        "pool": document.pool,
        "agents": [each.agent for each in document.numbers],
        "confirmed": [each.confirmed for each in document.numbers],
        "ended": [each.ended for each in document.numbers],
    }
    with database.transaction() as session:
        session.connection().execute(_LOG, values)
        return Noted(incarnation=session.execute(_INCARNATION).scalar_one())
