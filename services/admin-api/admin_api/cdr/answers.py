"""Call detail records as they are answered."""

from datetime import datetime

from pydantic import BaseModel, Field

from admin_api.names.looks import IfAny, Looked
from admin_api.names.people import UNKNOWN
from contract.message import Scope


class Party(Looked):
    """A participant: how many IMs sent, with what client (null: sent none)."""

    sent: int
    client: str | None


class SessionRecord(BaseModel):
    """A session. ``messages`` = ``archived`` + those that ``not_archived`` counts by rule."""

    id: int
    conversation: str
    invited: bool = Field(description="Set up by SIP INVITE; else single IMs, together until an idle time")
    scope: Scope
    pool: str
    caller: str
    client: str
    started_at: datetime
    ended_at: datetime | None = Field(description="null: it goes on")
    ended: str | None = Field(description="How: `bye`, `idle`, or the status that refused it")
    seconds: float = Field(description="From its begin to its last IM, or its end")
    messages: int
    archived: int
    not_archived: dict[str, int]
    unseen: list[str] = Field(
        description="What was said past the archive, as the pool allows in `unseen_media`"
    )
    attempts: dict[str, dict[str, int]] = Field(
        description="What who tried past the archive, and was refused; or called a notice, and was archived"
        " (`disguised`): address to kind to count"
    )
    parties: list[Party]


class SessionPage(BaseModel):
    """Some sessions, newest first; ``next`` is the ``after`` of the page that follows, null on the last."""

    sessions: list[SessionRecord]
    next: str | None
    unknown: IfAny[list[str]] = Field(None, description=UNKNOWN)
