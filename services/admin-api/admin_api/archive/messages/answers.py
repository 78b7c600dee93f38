"""Archived IMs as the API answers them."""

import base64
from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from pydantic import BaseModel, Field

from admin_api.archive.disclaimers.answers import NoticeSent
from admin_api.http.fields import IfAny
from admin_api.names.looks import Look, looks_of
from admin_api.names.people import UNKNOWN
from admin_api.tables.archive import ArchivedIM, ArchivedMessage
from contract.message import Encoding

INNER: Final = {"conversation_id", "sender_id", "recipient_ids"}
"""Columns that no answer has: the archive's numbers for names that answers have."""
_ON_TIME: Final = timedelta(minutes=1)


class Message(ArchivedIM):
    """An archived IM."""

    encoding: Encoding
    content: str | None = Field(
        description="The bytes as they were sent, in base64, if `encoding` is `base64`; else null"
    )
    late_seconds: float | None = Field(
        description="From `sent_at`, the word of its sender's side, to `received_at`, if that is more than a"
        " minute; negative if it was sent ahead of its time"
    )
    looks: IfAny[list[Look]] = Field(
        None, description="Looks of addresses that resemble others, or mix several scripts"
    )
    damaged: IfAny[list[str]] = Field(
        None, description="The fields that the archive cannot read any more. Report it."
    )


class MessagePage(BaseModel):
    """Some IMs; ``next`` is the ``after`` of the page that follows, null on the last.

    A page may have few IMs or none and still a ``next``: then the time for one search was up.
    """

    messages: list[Message]
    next: UUID | None
    without_text: int | None = Field(
        None,
        description="Of a search for a `text`: how many IMs that all other filters match have none, so that"
        " it could not be looked for in them. It is of the whole search, whatever page this is; at most"
        " 10,000; null if counting took too long. The filter `without_text` gives them.",
    )
    unknown: IfAny[list[str]] = Field(None, description=UNKNOWN)
    disclaimers: list[NoticeSent] | None = Field(
        None,
        description="Of the conversation that was asked for: which partners were told that it is archived",
    )


def message_of(row: ArchivedMessage, damaged: Sequence[str] = ()) -> Message:
    """Return the answer for an IM: columns by name, but for ``INNER``. ``damaged``: unreadable columns."""
    return Message(
        **row.model_dump(exclude=INNER | {"content", "recipients"}),
        recipients=list(dict.fromkeys(row.recipients)),
        looks=looks_of(dict.fromkeys([row.sender, *row.recipients])),
        late_seconds=_lateness_of(row),
        encoding="text" if row.content is None else "base64",
        content=None if row.content is None else base64.b64encode(row.content).decode(),
        damaged=list(damaged),
    )


def _lateness_of(row: ArchivedMessage) -> float | None:
    if row.received_at is None or abs(late := row.received_at - row.sent_at) <= _ON_TIME:
        return None
    return late.total_seconds()
