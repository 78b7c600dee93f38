"""Rows of messages: each field of an IM is in a column, and each column in a row."""

import struct
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from archiving.rows import COLUMNS, join_rows, pack_route, pack_row
from contract.message import IM, make_id, time_of

NUMBERED = {
    "sender": "sender_id",
    "recipients": "recipient_ids",
    "conversation": "conversation_id",
    "content_type": "content_type_id",
    "rule": "rule_id",
    "agent": "agent_id",
    "pool": "agent_id",
}
"""Fields of an IM that the archive keeps once, under a number; an agent is of one pool."""
REFORMED = {"scope": "federated", "encoding": "content"}
"""Fields with another form: there is content beside the text if the body is not the text."""
MADE = {"encryption"}
"""Columns that rendering fills."""
LENGTHS = {"uuid": 16, "timestamptz": 8, "int8": 8, "int4": 4, "int2": 2, "bool": 1}
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def an_im(**fields: object) -> IM:
    """Return an IM of plain text, but for some fields."""
    im_id = make_id()
    given: dict[str, object] = {
        "id": im_id, "sent_at": time_of(im_id), "sender": "sip:a@b.c", "recipients": ("sip:d@b.c",),
        "conversation": "c1", "scope": "internal", "content_type": "text/plain", "encoding": "text",
        "body": "hello", "pool": "pool1", "agent": uuid4(), "seq": 7, "policy_version": 1, "rule": "r",
    }  # fmt: skip
    return IM(**given | fields)  # type: ignore[arg-type] # fields by name


def fields_of(row: bytes) -> list[bytes | None]:
    """Return the fields of a row, None for null; fails if anything is left."""
    (count,) = struct.unpack_from(">h", row)
    place, fields = 2, list[bytes | None]()
    for _ in range(count):
        (length,) = struct.unpack_from(">i", row, place)
        place += 4
        fields.append(None if length < 0 else row[place : place + length])
        place += max(length, 0)
    assert place == len(row)
    return fields


def test_each_field_of_an_im_is_a_column_or_becomes_one() -> None:
    becomes = NUMBERED | REFORMED
    fields = set(IM.__struct_fields__)
    assert fields - set(COLUMNS) == set(becomes), (
        "a field of the IM that goes nowhere, or one that is no more"
    )
    assert set(COLUMNS) - fields == set(becomes.values()) | MADE, "a column that nothing fills"


@pytest.mark.parametrize(
    "im",
    [
        an_im(),
        an_im(received_at=NOW),
        an_im(spelled=("sip:A@b.c", "sip:d@b.c")),
        an_im(encoding="base64", body="H4sI", content_encoding="gzip"),
        an_im(content_type="text/html", body="<p>hello</p>"),
        an_im(content_type="application/pkcs7-mime", encoding="base64", body="MIAGCSqGSIb3DQEHA6CA"),
    ],
    ids=["plain", "received", "spelled", "compressed", "rendered", "encrypted"],
)
def test_a_row_has_a_field_for_each_column_of_its_type(im: IM) -> None:
    row = pack_row(im, pack_route(1, 2, [3, 4], federated=False), content_type=5, agent=6, rule=8)
    fields = dict(zip(COLUMNS, fields_of(row), strict=True))
    for name, content in fields.items():
        length = LENGTHS.get(COLUMNS[name])
        assert content is None or length in (None, len(content)), name
    numbers = (
        "conversation_id",
        "sender_id",
        "content_type_id",
        "agent_id",
        "seq",
        "policy_version",
        "rule_id",
    )
    assert [int.from_bytes(fields[name] or b"") for name in numbers] == [1, 2, 5, 6, 7, 1, 8]
    assert (fields["received_at"] is None) == (im.received_at is None)
    assert (fields["spelled"] is None) == (not im.spelled)
    assert fields["content_encoding"] == (im.content_encoding.encode() or None)


def test_rows_are_joined_in_the_order_of_their_ids() -> None:
    rows = [
        pack_row(an_im(), pack_route(1, 2, [3], federated=True), content_type=5, agent=6, rule=8)
        for _ in range(3)
    ]
    assert join_rows(rows[::-1]) == join_rows(rows)
