"""Call detail records as the API answers them."""

from datetime import datetime
from typing import Final

from pydantic import BaseModel, Field

from admin_api.http.fields import IfAny
from admin_api.names.looks import Looked
from admin_api.names.people import UNKNOWN
from contract.message import Scope

MOST_DIFFERENCES: Final = 1000


class Party(Looked):
    """A participant: the number of IMs sent, and the client (null: sent none)."""

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
        description="Media that passed beside the archive, as the pool allows in `unseen_media`"
    )
    attempts: dict[str, dict[str, int]] = Field(
        description="Attempts to get past the archive, by address and kind: refused, or, of the kind"
        " `disguised` (a text under the name of a notice), archived"
    )
    parties: list[Party]


class SessionPage(BaseModel):
    """Some sessions, newest first; ``next`` is the ``after`` of the page that follows, null on the last."""

    sessions: list[SessionRecord]
    next: str | None
    unknown: IfAny[list[str]] = Field(None, description=UNKNOWN)


class Attempts(BaseModel):
    """Attempts of a person's clients to get past the archive: how many of each kind, and when last."""

    address: str
    attempts: int
    kinds: dict[str, int]
    last_at: datetime


class AttemptList(BaseModel):
    """People with attempts, the most frequent first."""

    people: list[Attempts]


class Difference(BaseModel):
    """A conversation whose counts differ, perhaps in some minutes only."""

    conversation: str
    recorded: int
    archived: int
    parked: int
    discarded: int
    minutes: int = Field(description="In how many minutes they differ")


class Reconciliation(BaseModel):
    """The records of a time compared with the archive, minute by minute.

    ``messages`` = ``recorded`` (as archived) + ``not_archived`` (by rule). Where nothing differs,
    ``recorded`` = ``archived`` + ``parked`` + ``discarded``. An IM that two front ends took in counts twice.
    """

    conversations: int
    messages: int
    recorded: int
    not_archived: int
    archived: int = Field(description="They are in the archive")
    parked: int = Field(description="They could not be stored, and wait to be replayed or discarded")
    discarded: int = Field(description="They could not be stored, and a compliance officer discarded them")
    unattributed: int = Field(
        description="IMs that were parked in this time, and wait or are discarded, of which nobody can tell"
        " the conversation: they may be what differs, here or at another time"
    )
    differing: int
    differences: list[Difference] | None = Field(
        description=f"The first {MOST_DIFFERENCES}, the largest first: for the role compliance, else null."
        " A conversation's key may name who takes part."
    )
