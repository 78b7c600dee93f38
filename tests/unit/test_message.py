"""The contract on the wire: golden schemas, both directions of compatibility, ids that carry their time."""

import json
import os
import re
import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract import cdr, check_in, disclaimers, snapshot, witness
from contract.message import (
    IM,
    Minting,
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
    wires = [schemas(), *(each.schemas() for each in (cdr, check_in, disclaimers, snapshot, witness))]
    assert _flush(golden) == _flush({name: schema for wire in wires for name, schema in wire.items()})


def _flush(document: object) -> object:
    """Return a document without indents in its texts: Python 3.13 takes them off docstrings."""
    return json.loads(re.sub(r"\\n +", r"\\n", json.dumps(document)))


def test_an_im_of_the_first_version_is_read_and_written_to_the_letter() -> None:
    im = decode_im(FIRST_VERSION)
    assert im.sent_at == time_of(im.id) == datetime(2026, 11, 23, 6, 18, 39, 472000, UTC)
    assert encode_ims([im]) == FIRST_VERSION + b"\n"


def test_an_old_reader_passes_over_a_newer_writers_fields() -> None:
    newer = FIRST_VERSION[:-1] + b',"thread":"t1","mood":{"level":2}}'
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


NOW = 1_800_000_000_000
HOUR = 3_600_000


@given(st.lists(st.tuples(st.integers(NOW, NOW + 23 * HOUR), st.integers(1, 5))), st.booleans())
def test_ids_never_go_back_however_the_clock_jumps(clock: list[tuple[int, int]], overflows: bool) -> None:
    minting = Minting()
    if overflows:
        minting._count = (1 << 42) - 3
    ids = []
    highest = 0
    for now, count in clock:
        highest = max(highest, now)
        with patch("time.time_ns", return_value=now * 1_000_000):
            ids += [minting.make_id() for _ in range(count)]
            # The time in them is the clock's or, while it is behind where it was, the latest that it showed.
            assert highest <= milliseconds_of(ids[-1]) <= highest + overflows
            assert minting.seconds_ahead() == (milliseconds_of(ids[-1]) - now) / 1000
    assert all(one < later for one, later in pairwise(ids))


def test_ids_follow_a_clock_that_is_set_back_by_more_than_a_day() -> None:
    minting = Minting()
    for now in (NOW, NOW + 3650 * 24 * HOUR, NOW + 1):
        with patch("time.time_ns", return_value=now * 1_000_000):
            assert milliseconds_of(minting.make_id()) == now
            assert minting.seconds_ahead() == 0


@given(st.lists(st.none() | st.integers(NOW - 2, NOW + 2)))
def test_ids_of_one_time_keep_the_order_of_their_minting(times: list[int | None]) -> None:
    minting = Minting()
    with patch("time.time_ns", return_value=NOW * 1_000_000):
        ids = [(NOW if at is None else at, minting.make_id(at)) for at in times]
    assert all(milliseconds_of(im_id) == at for at, im_id in ids)
    assert sorted(ids) == sorted(ids, key=lambda each: each[0])  # which leaves in its order what is equal


def test_a_forked_process_mints_other_ids() -> None:
    ours = {make_id(NOW)}
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writing, b"".join(make_id(NOW).bytes for _ in range(100)))
        os._exit(0)
    os.waitpid(child, 0)
    ours |= {make_id(NOW) for _ in range(100)}
    said = os.read(reading, 1600)
    theirs = [UUID(bytes=said[at : at + 16]) for at in range(0, 1600, 16)]
    assert theirs == sorted(theirs)
    assert ours.isdisjoint(theirs)


@given(st.integers(1, 100_000), st.sampled_from([(b"[", b"]"), (b'{"a":[', b"]}")]))
def test_a_line_nested_to_any_depth_is_read_or_said_to_be_too_deep(
    depth: int, brackets: tuple[bytes, bytes]
) -> None:
    """How deep a newer writer's field may be is Python's: 1,000 up to 3.11, more since."""
    opening, closing = brackets
    line = FIRST_VERSION[:-1] + b',"mood":' + opening * depth + b"1" + closing * depth + b"}"
    try:
        assert decode_im(line) == decode_im(FIRST_VERSION)
    except RecursionError:
        assert depth > 400


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
