"""The contract on the wire: golden schemas, both directions of compatibility, ids that carry their time."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract import cdr
from contract.message import (
    IM,
    content_of,
    decode_im,
    decode_ims,
    encode_ims,
    headers_of,
    make_id,
    milliseconds_of,
    schemas,
    time_of,
)

SCHEMAS = Path(__file__).parent.parent.parent / "contract" / "schemas"

# What a front end of the first version wrote, to the letter: every later worker must read it.
FIRST_VERSION = (
    b'{"id":"01a2070e-7bf0-73eb-933d-9d1df16e2c30","sent_at":"2026-11-23T06:18:39.472000Z",'
    b'"sender":"sip:yannis@contoso.com","recipients":["sip:administrator@contoso.com"],'
    b'"conversation":"c1","scope":"internal","content_type":"text/plain","encoding":"text",'
    b'"body":"Test Archiving Messages","pool":"pool1","agent":"6f0f9f5e-8a55-4f0e-9d8e-0d2e6f3a1b2c",'
    b'"seq":1,"policy_version":4,"rule":"internal-everyone"}'
)


def test_the_golden_schemas_are_those_of_the_code() -> None:
    golden = {path.stem: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
    assert golden == json.loads(json.dumps(schemas() | cdr.schemas()))


def test_an_im_of_the_first_version_is_read_and_written_to_the_letter() -> None:
    im = decode_im(FIRST_VERSION)
    assert im.sent_at == time_of(im.id) == datetime(2026, 11, 23, 6, 18, 39, 472000, UTC)
    assert encode_ims([im]) == FIRST_VERSION + b"\n"


def test_an_old_reader_passes_over_a_newer_writers_fields() -> None:
    newer = FIRST_VERSION[:-1] + b',"thread":"t1","importance":{"level":2}}'
    assert decode_im(newer) == decode_im(FIRST_VERSION)


@pytest.mark.parametrize(
    "field", [each for each in msgspec.structs.fields(IM) if each.required], ids=lambda field: field.name
)
def test_a_missing_field_is_named(field: msgspec.structs.FieldInfo) -> None:
    document = json.loads(FIRST_VERSION)
    del document[field.name]
    with pytest.raises(msgspec.ValidationError, match=field.name):
        decode_im(json.dumps(document).encode())


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=20))
def test_bodies_come_out_as_they_went_in(bodies: list[str]) -> None:
    template = decode_im(FIRST_VERSION)
    ims = [msgspec.structs.replace(template, body=body, seq=place) for place, body in enumerate(bodies, 1)]
    wire = encode_ims(ims)
    assert wire.count(b"\n") == len(ims)
    assert decode_ims(wire) == ims
    assert headers_of(ims) == {
        "count": len(ims),
        "agent": str(template.agent),
        "pool": "pool1",
        "first_seq": 1,
    }


@given(st.integers(0, (1 << 48) - 1))
def test_an_id_carries_its_time(milliseconds: int) -> None:
    im_id = make_id(milliseconds)
    assert im_id.version == 7
    assert im_id.variant == "specified in RFC 4122"
    assert milliseconds_of(im_id) == milliseconds


def test_ids_are_minted_for_now_and_differ() -> None:
    ids = {make_id() for _ in range(10_000)}
    assert len(ids) == 10_000
    assert abs(time_of(make_id()).timestamp() - time.time()) < 5


def test_an_id_that_carries_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="UUIDv7"):
        time_of(uuid4())
    with pytest.raises(ValueError, match="9999"):
        time_of(UUID("ffffffff-ffff-7000-8000-000000000000"))


def test_content_that_is_not_base64_is_refused() -> None:
    im = msgspec.structs.replace(decode_im(FIRST_VERSION), encoding="base64", body="/w==")
    assert content_of(im) == b"\xff"
    with pytest.raises(ValueError, match="not base64"):
        content_of(msgspec.structs.replace(im, body="a"))
