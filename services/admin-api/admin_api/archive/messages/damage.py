"""Rows of the archive that can't be read whole: what can be is read, and the rest is named."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.exc import DataError, InternalError
from sqlmodel import Session, col

from admin_api.tables.archive import ArchivedMessage

DAMAGE: Final = (DataError, InternalError, ValidationError)
"""What is raised for a row that the database can't read, or holds what no IM can be."""

_UNKNOWN: Final[dict[str, Any]] = {
    **dict.fromkeys(ArchivedMessage.model_fields),
    **dict.fromkeys(("conversation_id", "sender_id", "seq", "policy_version"), 0),
    **dict.fromkeys(("sender", "conversation", "content_type", "pool", "rule"), "unknown"),
    "recipient_ids": [],
    "recipients": [],
    "scope": "internal",
    "agent": UUID(int=0),
}
"""What stands for what can't be read; null if there may be none."""


def read_column_by_column(
    session: Session, im_id: UUID, sent_at: datetime
) -> tuple[ArchivedMessage, list[str]]:
    """Return what can be read of an IM, and the names of the columns that can't."""
    values: dict[str, Any] = _UNKNOWN | {"id": im_id, "sent_at": sent_at, "stored_at": sent_at}
    damaged = []
    for name in ArchivedMessage.model_fields:
        query = select(col(getattr(ArchivedMessage, name)))
        query = query.where(col(ArchivedMessage.id) == im_id, col(ArchivedMessage.sent_at) == sent_at)
        try:
            with session.begin_nested():
                value = session.scalar(query)
        except DAMAGE:
            damaged.append(name)
        else:
            values[name] = values[name] if value is None else value
    return ArchivedMessage(**values), damaged
