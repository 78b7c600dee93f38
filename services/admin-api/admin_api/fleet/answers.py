"""Check-ins and numbers as front ends send them, and front ends as the API answers them."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field, StrictBool

from admin_api.http.fields import Document, IfAny, Integer, Name, Time, Version
from contract.message import MAX_SEQ


class CheckIn(Document):
    """A front end's check-in: its state, and the policy that it runs."""

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
    anew: bool = Field(description="Its policy is not that of its version: it should fetch everything")
    namesakes: int = Field(description="Other front ends that run under its name")


class FrontEnd(BaseModel):
    """A front end as of its last check-in; ``current``: it ran the newest version of policy then.

    Front ends older than stamps send none; then the version's number alone is compared.
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
        None,
        description="When it last held another policy than its version's, and was asked to fetch everything",
    )


class FrontEndList(BaseModel):
    """All front ends of the last seven days, and the newest version of policy."""

    version: int
    stamp: UUID
    front_ends: list[FrontEnd]


class AgentNumbers(Document):
    """An archiving agent's numbers."""

    agent: UUID
    confirmed: Annotated[Integer, Field(ge=0, le=MAX_SEQ, description="By the broker: up to this number")]
    ended: StrictBool = Field(default=False, description="It numbers no more")


class Numbers(Document):
    """The numbers of the agents that a front end knows: its own, and those that it adopted."""

    pool: Name = Field(examples=["pool1"])
    numbers: list[AgentNumbers] = Field(max_length=1000)


class Noted(BaseModel):
    """The archive in which the numbers were noted."""

    incarnation: UUID = Field(
        description="The archive's. Another: it was restored; tell again of all agents that ended"
    )
