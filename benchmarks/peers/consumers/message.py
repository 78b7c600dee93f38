"""The table that the consumers write to: an IM's fields as they are on the queue, and its id as the key."""

import os
from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, String
from sqlmodel import Field, SQLModel, create_engine

QUEUE = "ims"
AMQP_URL = os.environ["PEERS_AMQP_URL"]
DATABASE_URL = os.environ["PEERS_DATABASE_URL"]  # without a driver: each consumer names its own


class Message(SQLModel, table=True):
    """One IM."""

    __tablename__ = "messages"

    id: UUID = Field(primary_key=True)
    sent_at: datetime = Field(sa_type=DateTime(timezone=True))
    sender: str
    recipients: list[str] = Field(sa_type=ARRAY(String))
    conversation: str
    scope: str
    content_type: str
    encoding: str
    body: str
    pool: str
    agent: UUID
    seq: int
    policy_version: int
    rule: str


if __name__ == "__main__":
    SQLModel.metadata.create_all(create_engine(DATABASE_URL.replace("://", "+psycopg://")))
