"""The views of the schema ``archive``, as they are migrated."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Column, DateTime, Integer, Text
from sqlalchemy.dialects.postgresql import ARRAY, INT8MULTIRANGE, JSONB, Range
from sqlmodel import Field, SQLModel

from contract.message import Scope

_ARCHIVE = {"schema": "archive"}
_TIME = DateTime(timezone=True)


class ArchivedUser(SQLModel, table=True):
    """A name of a person in the archive; ``same_as``: the canonical name's number, if this is another."""

    __tablename__ = "archived_users"
    __table_args__ = _ARCHIVE
    id: int = Field(primary_key=True)
    address: str
    same_as: int | None


class ArchivedConversation(SQLModel, table=True):
    """A conversation in the archive; ``same_as``: the same people's, by their canonical addresses."""

    __tablename__ = "archived_conversations"
    __table_args__ = _ARCHIVE
    id: int = Field(primary_key=True, sa_type=BigInteger)
    conversation: str
    same_as: int | None = Field(sa_type=BigInteger)


class ArchivedParticipant(SQLModel, table=True):
    """A person who took part in a conversation."""

    __tablename__ = "archived_participants"
    __table_args__ = _ARCHIVE
    user_id: int = Field(primary_key=True)
    conversation_id: int = Field(primary_key=True, sa_type=BigInteger)


class ArchivedIM(SQLModel):
    """An archived IM as the archive shows it and the API answers it.

    ``sent_at`` is the time inside ``id`` and the key of the partitions.
    """

    id: UUID = Field(primary_key=True)
    sent_at: datetime = Field(sa_column=Column(_TIME))
    stored_at: datetime = Field(sa_column=Column(_TIME))
    sender: str
    recipients: list[str] = Field(sa_column=Column(ARRAY(Text)))
    conversation: str
    scope: Scope = Field(sa_type=Text)
    content_type: str
    body: str | None = Field(
        description="As it was sent, if `encoding` is `text`; else a text made of it for search, or null"
    )
    pool: str
    agent: UUID
    seq: int = Field(sa_type=BigInteger)
    policy_version: int = Field(sa_type=BigInteger)
    rule: str
    received_at: datetime | None = Field(
        sa_column=Column(_TIME),
        description="When the front end took it in, by its own clock; null if that was not kept yet",
    )
    content_encoding: str | None = Field(description="How `content` is compressed, null if it is not")
    encryption: str | None = Field(
        description="The kind of the sender's encryption or signature, as far as can be seen; else null"
    )
    spelled: list[str] | None = Field(
        sa_column=Column(ARRAY(Text)),
        description="Sender and recipients as they came, if one of them is spelled in another way than above",
    )


class ArchivedMessage(ArchivedIM, table=True):
    """An archived IM with the archive's numbers for names, and its bytes if the body is not all of it."""

    __tablename__ = "archived_messages"
    __table_args__ = _ARCHIVE
    conversation_id: int = Field(sa_type=BigInteger)
    sender_id: int
    recipient_ids: list[int] = Field(sa_column=Column(ARRAY(Integer)))
    content: bytes | None


class TraceRow(SQLModel, table=True):
    """A delivery of an archived IM, with its publish and its batch; null where that is not known."""

    __tablename__ = "traces"
    __table_args__ = _ARCHIVE
    id: UUID = Field(primary_key=True)
    sent_at: datetime = Field(sa_column=Column(_TIME))
    stored_at: datetime = Field(sa_column=Column(_TIME))
    pool: str
    front_end: str | None
    agent: UUID
    seq: int = Field(sa_type=BigInteger)
    policy_version: int = Field(sa_type=BigInteger)
    rule: str
    publish_ims: int | None
    published_at: datetime | None = Field(sa_column=Column(_TIME))
    confirmed_at: datetime | None = Field(sa_column=Column(_TIME))
    consumed_at: datetime | None = Field(sa_column=Column(_TIME))
    worker: str = Field(primary_key=True)
    batch: int = Field(primary_key=True, sa_type=BigInteger)
    batch_ims: int | None
    batch_stored_at: datetime | None = Field(sa_column=Column(_TIME))
    committed_at: datetime | None = Field(sa_column=Column(_TIME))
    acknowledged_at: datetime | None = Field(sa_column=Column(_TIME))


class MessageOrder(SQLModel, table=True):
    """The transaction that stored an IM."""

    __tablename__ = "message_order"
    __table_args__ = _ARCHIVE
    id: UUID = Field(primary_key=True)
    sent_at: datetime = Field(sa_column=Column(_TIME))
    xact: int | None = Field(sa_type=BigInteger)


class AgentCompleteness(SQLModel, table=True):
    """How many of an archiving agent's IMs are in the archive, and which numbers are missing."""

    __tablename__ = "completeness"
    __table_args__ = _ARCHIVE
    agent: UUID = Field(primary_key=True)
    pool: str
    front_end: str | None
    first_seen: datetime = Field(sa_column=Column(_TIME))
    last_seen: datetime = Field(sa_column=Column(_TIME))
    ended_at: datetime | None = Field(sa_column=Column(_TIME))
    accepted: int = Field(sa_type=BigInteger)
    archived: int = Field(sa_type=BigInteger)
    parked: int = Field(sa_type=BigInteger)
    missing: int = Field(sa_type=BigInteger)
    missing_numbers: list[Range[int]] = Field(sa_column=Column(INT8MULTIRANGE))
    waiting: int = Field(sa_type=BigInteger)
    disowned: int = Field(sa_type=BigInteger)
    disowned_numbers: list[Range[int]] = Field(sa_column=Column(INT8MULTIRANGE))
    disowned_at: datetime | None = Field(sa_column=Column(_TIME))
    disowned_by: str | None
    disowned_why: str | None

    model_config = {"arbitrary_types_allowed": True}


class ParkedRow(SQLModel, table=True):
    """An IM or lines of call detail records that could not be stored, as they came."""

    __tablename__ = "parked_ims"
    __table_args__ = _ARCHIVE
    id: int = Field(primary_key=True, sa_type=BigInteger)
    parked_at: datetime = Field(sa_column=Column(_TIME))
    reason: str
    body: bytes
    properties: dict[str, Any] = Field(sa_column=Column(JSONB))
    pool: str | None
    agent: UUID | None
    first_seq: int | None = Field(sa_type=BigInteger)
    ims: int
    state: str
    changed_at: datetime | None = Field(sa_column=Column(_TIME))
    changed_by: str | None
    changed_why: str | None
    kind: str
