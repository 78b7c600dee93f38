"""What a caller sends: every error names the field and says what to do."""

import base64
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.message import make_id, time_of
from frontend.config import FrontEndSettings
from frontend.im import CheckedIM
from frontend.listeners.openapi import MESSAGES
from frontend.listeners.submission import Submission, read_submission
from runtime.problem import Problem

SETTINGS = FrontEndSettings(amqp_url="amqp://nowhere", connectors_file=Path("none"))
NOW = time.time_ns() // 1_000_000


def read(**fields: Any) -> CheckedIM:
    document = {"sender": "a@contoso.com", "recipients": ["b@contoso.com"], "body": "hello"} | fields
    return read_submission(json.dumps(document).encode(), SETTINGS)


def test_the_openapi_document_names_all_that_a_caller_may_send() -> None:
    schema = MESSAGES["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"].keys() == set(Submission.__struct_fields__)


def test_an_im_is_read_with_canonical_addresses_and_an_id_of_now() -> None:
    im = read(sender="SIP:A@Contoso.com", recipients=["b@contoso.com", "sip:B@contoso.com", "c@contoso.com"])
    assert im.sender == "sip:a@contoso.com"
    assert im.recipients == ("sip:b@contoso.com", "sip:c@contoso.com")
    assert im.sent_at == time_of(im.id)
    assert abs(im.sent_at.timestamp() - time.time()) < 5
    assert not im.brought


def test_a_callers_id_gives_the_time_and_a_callers_time_gives_the_id() -> None:
    im_id = make_id(NOW - 60_000)
    assert read(id=str(im_id)).sent_at == time_of(im_id)
    moment = datetime.fromtimestamp((NOW - 60_000) / 1000, UTC)
    assert read(sent_at=moment.isoformat()).sent_at == moment
    both = read(id=str(im_id), sent_at=time_of(im_id).isoformat())
    assert (both.id, both.brought) == (im_id, True)


@pytest.mark.parametrize(
    ("fields", "status", "field", "why"),
    [
        ({"sender": None}, 422, "/sender", "Expected `str`"),
        ({"sender": "mailto:a@contoso.com"}, 422, "/sender", "unknown scheme"),
        ({"sender": "nobody"}, 422, "/sender", "sip:user@domain"),
        ({"recipients": []}, 422, "/recipients", "at least one"),
        ({"recipients": "b@contoso.com"}, 422, "/recipients", "array"),
        ({"recipients": ["b@contoso.com", 7]}, 422, "/recipients/1", "Expected `str`"),
        ({"recipients": ["b@contoso.com", "x:y"]}, 422, "/recipients/1", "unknown scheme"),
        ({"recipients": [f"u{n}@contoso.com" for n in range(10_000)]}, 422, "/recipients", "at most 500"),
        ({"body": "x" * 70_000}, 413, "/body", "at most 65536"),
        ({"body": "a\0b"}, 422, "/body", "base64"),
        ({"body": "é", "encoding": "base64"}, 422, "/body", "not base64"),
        ({"encoding": "gzip"}, 422, "/encoding", "Invalid enum value"),
        ({"content_type": "text"}, 422, "/content_type", "type/subtype"),
        ({"content_type": "text/plain\0"}, 422, "/content_type", "type/subtype"),
        ({"content_type": "text/plain; x=" + "y" * 255}, 422, "/content_type", "at most 255"),
        ({"conversation": ""}, 422, "/conversation", "0 characters"),
        ({"conversation": "c" * 256}, 422, "/conversation", "256 characters"),
        ({"conversation": "a\0"}, 422, "/conversation", "NUL"),
        ({"sender": "a\0@contoso.com"}, 422, "/sender", "not a SIP address"),
        ({"id": "1"}, 422, "/id", "Invalid UUID"),
        ({"id": str(uuid4())}, 422, "/id", "UUIDv7"),
        ({"id": str(make_id(NOW + 3_600_000))}, 422, "/id", "ahead"),
        ({"id": str(make_id(NOW - 30 * 86_400_000))}, 422, "/id", "behind"),
        ({"id": "ffffffff-ffff-7000-8000-000000000000"}, 422, "/id", "9999"),
        ({"sent_at": "yesterday"}, 422, "/sent_at", "RFC3339"),
        ({"sent_at": "2026-11-23T06:00:00"}, 422, "/sent_at", "timezone"),
        ({"sent_at": "0001-01-01T00:00:00+14:00"}, 422, "/sent_at", "behind"),
        ({"id": str(make_id(NOW)), "sent_at": "2026-11-22T06:00:00Z"}, 422, "/sent_at", "time inside id"),
        ({"mood": 1}, 422, "/mood", "unknown field `mood`"),
        ({"a/b~c": 1}, 422, "/a~1b~0c", "unknown field `a/b~c`"),
    ],
)
def test_a_wrong_field_is_named_with_what_to_do(
    fields: dict[str, Any], status: int, field: str | None, why: str
) -> None:
    with pytest.raises(Problem) as raised:
        read(**fields)
    assert (raised.value.status, raised.value.field) == (status, field)
    assert why in raised.value.detail


@pytest.mark.parametrize(
    ("raw", "status", "why"),
    [
        (b"", 400, "invalid JSON"),
        (b"{", 400, "invalid JSON"),
        (b"[]", 422, "object"),
        (b"\xff\xfe", 400, "invalid JSON"),
        (b'{"sender": "a@contoso.com", "recipients": ["b@contoso.com"], "body": "\xff"}', 400, "not UTF-8"),
        (
            b'{"sender": "a@contoso.com", "recipients": ["b@contoso.com"], "body": "\\ud800"}',
            400,
            "surrogate",
        ),
        (
            b'{"sender": "a@contoso.com", "recipients": ["b@contoso.com"]}',
            422,
            "missing required field `body`",
        ),
        (b'"' + b"x" * 300_000 + b'"', 413, "at most 262144"),
    ],
)
def test_what_is_no_im_is_told_why(raw: bytes, status: int, why: str) -> None:
    with pytest.raises(Problem) as raised:
        read_submission(raw, SETTINGS)
    assert raised.value.status == status
    assert why in raised.value.detail


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode(errors="replace")))
def test_any_bytes_are_an_im_or_a_problem(raw: bytes) -> None:
    with pytest.raises(Problem):
        read_submission(raw, SETTINGS)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=500))
def test_every_text_is_taken_as_it_is(body: str) -> None:
    assert read(body=body).body == body


@given(st.binary(max_size=500))
def test_every_content_is_taken_as_base64(content: bytes) -> None:
    body = base64.b64encode(content).decode()
    assert read(body=body, encoding="base64", content_type="application/rtf").body == body


def test_a_conversation_without_a_key_gets_one_of_its_people() -> None:
    there = read(sender="a@contoso.com", recipients=["b@contoso.com"])
    back = read(sender="b@contoso.com", recipients=["a@contoso.com"])
    assert there.conversation == back.conversation == "p2p:sip:a@contoso.com|sip:b@contoso.com"
    group = read(recipients=[f"{'x' * 100}{n}@contoso.com" for n in range(400)])
    assert len(group.conversation) < 64
    assert read(conversation="call-id-1").conversation == "call-id-1"


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=255))
def test_any_key_of_a_conversation_is_taken_as_it_is(key: str) -> None:
    assert read(conversation=key).conversation == key


def test_a_missing_field_is_named() -> None:
    with pytest.raises(Problem) as raised:
        read_submission(b'{"sender": "a@contoso.com", "recipients": ["b@contoso.com"]}', SETTINGS)
    assert raised.value.field == "/body"
    assert "missing required field `body`" in raised.value.detail
