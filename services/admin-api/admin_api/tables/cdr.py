"""The views of the schema ``cdr``, as they are migrated."""

from datetime import datetime

from sqlalchemy import BigInteger, Column, DateTime, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlmodel import Field, SQLModel

_CDR = {"schema": "cdr"}
_TIME = DateTime(timezone=True)


class SessionRow(SQLModel, table=True):
    """A call detail record: a session, its participants, and the number of IMs that each sent."""

    __tablename__ = "session_list"
    __table_args__ = _CDR
    id: int = Field(primary_key=True, sa_type=BigInteger)
    conversation: str
    invited: bool
    scope: str
    pool: str
    caller: str
    client: str
    started_at: datetime = Field(sa_column=Column(_TIME))
    last_at: datetime = Field(sa_column=Column(_TIME))
    ended_at: datetime | None = Field(sa_column=Column(_TIME))
    ended: str | None
    messages: int = Field(sa_type=BigInteger)
    archived: int = Field(sa_type=BigInteger)
    passed: dict[str, int] = Field(sa_column=Column(JSONB))
    parties: list[str] = Field(sa_column=Column(ARRAY(Text)))
    sent: list[int] = Field(sa_column=Column(ARRAY(BigInteger)))
    clients: list[str | None] = Field(sa_column=Column(ARRAY(Text)))
    unseen: list[str] = Field(sa_column=Column(ARRAY(Text)))
    attempts: list[dict[str, int]] = Field(sa_column=Column(ARRAY(JSONB)))


class AttemptRow(SQLModel, table=True):
    """Attempts of one person, in one session, to get past the archive."""

    __tablename__ = "attempt_list"
    __table_args__ = _CDR
    address: str = Field(primary_key=True)
    last_at: datetime = Field(sa_column=Column(_TIME, primary_key=True))
    kind: str = Field(primary_key=True)
    count: int = Field(sa_type=BigInteger)


class SessionPartyRow(SQLModel, table=True):
    """A participant of a session."""

    __tablename__ = "party_list"
    __table_args__ = _CDR
    address: str = Field(primary_key=True)
    session_id: int = Field(primary_key=True, sa_type=BigInteger)
