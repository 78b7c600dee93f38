"""Damaged rows of the archive: readable columns are read, and the others are named."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.exc import DataError, InternalError
from sqlmodel import Session, col

from admin_api.tables.archive import ArchivedMessage

DAMAGE: Final = (DataError, InternalError, ValidationError)
"""Errors for a row that the database cannot read, or that holds values no IM can have."""

_UNKNOWN: Final[dict[str, Any]] = {
    **dict.fromkeys(ArchivedMessage.model_fields),
    **dict.fromkeys(("conversation_id", "sender_id", "seq", "policy_version"), 0),
    **dict.fromkeys(("sender", "conversation", "content_type", "pool", "rule"), "unknown"),
    "recipient_ids": [],
    "recipients": [],
    "scope": "internal",
    "agent": UUID(int=0),
}
"""Values for columns that cannot be read; null where the column may be null."""


def read_column_by_column(
    session: Session, im_id: UUID, sent_at: datetime
) -> tuple[ArchivedMessage, list[str]]:
    """Return an IM from its readable columns, and the names of the others."""
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
