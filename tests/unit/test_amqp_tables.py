"""What a message's headers hold that pika can't read: it costs that value, nothing else."""

import importlib.util
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import data
from pika.spec import BasicProperties

from archiving import amqp_tables


@pytest.fixture(autouse=True, scope="module")
def _in_use() -> None:
    amqp_tables.use()


def table(content: bytes) -> bytes:
    """Return an AMQP table, or a list, on the wire."""
    return struct.pack(">I", len(content)) + content


def read(content: bytes) -> BasicProperties:
    """Return the properties of a message of a type and with these headers."""
    flags = struct.pack(">H", BasicProperties.FLAG_HEADERS | BasicProperties.FLAG_TYPE)
    return BasicProperties().decode(flags + table(content) + b"\x02im")


COUNT = b"\x05countI" + struct.pack(">i", 3)
TIME = b"T" + struct.pack(">Q", 1_800_000_000_000)


@pytest.mark.parametrize(
    "value",
    [
        TIME,
        b"T" + b"\xff" * 8,
        b"d" + struct.pack(">d", float("nan")),
        b"d" + struct.pack(">d", float("-inf")),
        b"f" + struct.pack(">f", float("inf")),
        b"A" + table(b"I\0\0\0\1" + TIME),
    ],
)
def test_what_cannot_be_read_is_its_bytes_as_text_and_the_rest_is_read(value: bytes) -> None:
    properties = read(b"\1x" + value + b"\1yF" + table(b"\1x" + value + COUNT) + COUNT)
    assert properties.headers == {"x": repr(value), "y": {"x": repr(value), "count": 3}, "count": 3}
    assert properties.type == "im"


def test_a_value_of_which_nobody_can_tell_the_end_ends_its_table_alone() -> None:
    properties = read(COUNT + b"\1yF" + table(b"\1x?" + COUNT) + b"\1zV")
    assert properties.headers == {"count": 3, "y": {"x": repr(b"?" + COUNT)}, "z": None}
    assert properties.type == "im"


@pytest.mark.parametrize("kind", [b"\1xF", b"A"])
def test_what_is_nested_a_thousandfold_hides_nothing_beside_it(kind: bytes) -> None:
    deep: Any = b"" if kind == b"A" else COUNT
    for _ in range(2000):
        deep = kind + table(deep)
    properties = read((b"\1x" + deep if kind == b"A" else deep) + COUNT)
    assert properties.headers["count"] == 3
    assert set(properties.headers) == {"x", "count"}
    assert properties.type == "im"


@given(
    st.binary(max_size=60)
    | st.lists(st.sampled_from([b"\1x", b"A", b"F", b"T", b"\0\0\0\4", b"I"])).map(b"".join)
)
def test_whatever_stands_in_a_table_the_rest_of_the_message_is_read(content: bytes) -> None:
    assert read(content).type == "im"


def test_pika_still_needs_it() -> None:
    """When this fails, ``archiving.amqp_tables`` has had its day, or part of it."""
    spec = importlib.util.find_spec("pika.data")
    assert spec is not None and spec.loader is not None
    its_own = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(its_own)
    for value in (TIME, b"d" + struct.pack(">d", float("nan")), b"?"):
        with pytest.raises(Exception):  # noqa: B017 - of many kinds
            its_own.decode_table(table(b"\1x" + value), 0)
        assert data.decode_table(table(b"\1x" + value), 0)[0] == {"x": repr(value)}
