"""An archived IM as it is answered: no column of the archive and no field of the wire is forgotten."""

import base64
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from admin_api.archive.messages.answers import INNER, Message, message_of
from admin_api.tables.archive import ArchivedMessage
from contract.message import IM

AT = datetime(2026, 1, 31, 8, tzinfo=UTC)
ROW: dict[str, Any] = {
    "id": UUID("019c1a2b-0000-7000-8000-000000000001"),
    "sent_at": AT,
    "stored_at": AT.replace(minute=1),
    "conversation_id": 2,
    "sender_id": 3,
    "recipient_ids": [4],
    "sender": "sip:yannis@contoso.com",
    "recipients": ["sip:administrator@contoso.com"],
    "conversation": "c1",
    "scope": "internal",
    "content_type": "text/rtf",
    "body": "hello",
    "content": b"{hello}",
    "pool": "pool1",
    "agent": UUID(int=5),
    "seq": 6,
    "policy_version": 7,
    "rule": "internal-everyone",
    "received_at": AT.replace(second=1),
    "content_encoding": "gzip",
    "encryption": "pgp",
    "spelled": ["sip:Yannis@contoso.com", "sip:administrator@contoso.com"],
}


def test_each_column_is_answered_or_declared_as_inner() -> None:
    assert ArchivedMessage.model_fields.keys() - Message.model_fields.keys() == INNER


def test_each_column_is_answered_as_it_is() -> None:
    row = dict.fromkeys(ArchivedMessage.model_fields, "said") | ROW
    assert row.keys() == ArchivedMessage.model_fields.keys()
    answer = message_of(ArchivedMessage(**row)).model_dump()
    told = row | {"content": base64.b64encode(row["content"]).decode()}
    assert {name: answer[name] for name in row.keys() - INNER} == {
        name: value for name, value in told.items() if name not in INNER
    }


def test_each_field_of_the_wire_is_answered() -> None:
    assert {field.name for field in msgspec.structs.fields(IM)} <= Message.model_fields.keys()
