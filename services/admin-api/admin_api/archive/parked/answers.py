"""Parked IMs and call detail records as the API answers them."""

import base64
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from admin_api.http.fields import Document, Text
from admin_api.tables.archive import ParkedRow

Kind = Literal["im", "cdr"]
State = Literal["parked", "replaying", "replayed", "discarded"]


class Parked(BaseModel):
    """A parked IM or call detail record, without its content."""

    id: int
    kind: Kind = Field(description="`im`, or `cdr`: lines of call detail records")
    parked_at: datetime
    reason: str
    pool: str | None
    agent: UUID | None
    first_seq: int | None = Field(description="The agent's number of its first IM")
    ims: int = Field(description="How many IMs it holds, as far as anybody can tell; `cdr` holds none")
    bytes: int
    state: State
    changed_at: datetime | None
    changed_by: str | None
    changed_why: str | None


class ParkedContent(Parked):
    """A parked IM or call detail record, as it came."""

    content: str = Field(description="Its bytes in base64 (RFC 4648, 4)")
    text: str | None = Field(description="The same as text, if it is UTF-8")
    properties: dict[str, Any] = Field(description="AMQP properties and headers")


class ParkedPage(BaseModel):
    """A page, newest first; ``next`` is the ``after`` of the page that follows, null on the last."""

    parked: list[Parked]
    next: int | None
    waiting: int = Field(description="How many IMs are parked now, on all pages")


class Reason(Document):
    """The reason for an action."""

    reason: Text = Field(examples=["the disk was full"])


class Changed(BaseModel):
    """The number of things that an action changed."""

    changed: int


def content_of(row: ParkedRow) -> ParkedContent:
    """Return the answer for a parked row."""
    try:
        text = row.body.decode()
    except UnicodeDecodeError:
        text = None
    return ParkedContent(
        **row.model_dump(exclude={"body"}),
        bytes=len(row.body),
        content=base64.b64encode(row.body).decode(),
        text=text,
    )
