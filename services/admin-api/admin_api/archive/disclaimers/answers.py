"""Notices as front ends claim them and officers read them."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from admin_api.http.fields import (
    ConnectorName,
    Document,
    IfAny,
    KnownAddress,
    Language,
    Name,
    Text,
    Time,
    Version,
    Wording,
)
from admin_api.names.people import UNKNOWN


class Notice(Document):
    """A notice for one partner."""

    partner: KnownAddress = Field(examples=["sip:bob@fabrikam.com"])
    language: Language = Field(examples=["en"])
    wording: Wording = Field(examples=["This conversation is archived."])


class Claim(Document):
    """Notices that a front end would hand to a connector with an IM, for the partners of its conversation."""

    front_end: Name = Field(examples=["frontend-1"])
    connector: ConnectorName | Literal[""] = Field("", examples=["edge"])
    conversation: Text = Field(examples=["p2p:sip:bob@fabrikam.com|sip:yannis@contoso.com"])
    im: UUID
    at: Time
    version: Annotated[Version, Field(description="Of the policy that words it")]
    notices: list[Notice] = Field(min_length=1, max_length=10_000)


class Standing(BaseModel):
    """Partners to be told with this IM, and those told already. Of others it is not known yet."""

    partners: list[str]
    told: list[str]


class Confirmation(Document):
    """A connector's confirmation that it delivered the notices of an IM."""

    connector: ConnectorName = Field(examples=["edge"])
    at: Time


class NoticeSent(BaseModel):
    """A notice that was handed over: its partner, IM and wording, and the time of its delivery."""

    conversation: str
    partner: str
    im: UUID
    state: Literal["handed_over", "told"] = Field(
        description="`told`: the connector said that it delivered the notice"
    )
    at: datetime = Field(description="When it was handed over")
    told_at: datetime | None
    connector: str = Field(description="The connector it was handed to; empty if that was not kept yet")
    front_end: str
    language: str
    wording: str
    version: int


class NoticePage(BaseModel):
    """Notices, newest first; ``next`` is the ``after`` of the page that follows, null on the last."""

    disclaimers: list[NoticeSent]
    next: int | None
    unknown: IfAny[list[str]] = Field(None, description=UNKNOWN)
