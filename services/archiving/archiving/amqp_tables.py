"""AMQP tables, such as a message's headers: pika reads every value, or the bytes of one that it cannot read.

pika drops the connection for one value that it cannot read: a time in milliseconds is beyond the year 9999, a
float may be no number, a type may be unknown, lists may be too deep. The message is the first again on the
next connection, for ever. An unused header must not stop an archive.

Upstream: pika issue 1698, mended for times alone by pull request 1699, which is in no release up to 1.4.4. It
can be offered to pika as it is: ``decode_table`` is a drop-in for ``pika.data.decode_table``.
"""

from typing import Any, Final

from pika import data

_WIDTHS: Final = {b"T": 8, b"d": 8, b"f": 4}


def use() -> None:
    """Replace pika's decoder of tables in this process: pika offers no other way."""
    data.decode_table = decode_table


def decode_table(encoded: bytes, offset: int) -> tuple[dict[str | bytes, Any], int]:
    """Return an AMQP table and the offset of its end; an unreadable value is the text of its bytes."""
    end = offset + 4 + int.from_bytes(encoded[offset : offset + 4])
    offset += 4
    table: dict[str | bytes, Any] = {}
    while offset < end:
        key, offset = data.decode_short_string(encoded, offset)
        try:
            table[key], offset = data.decode_value(encoded, offset)
        except Exception:  # of many kinds: RecursionError is one
            start, offset = offset, min(end, _end_of_value(encoded, offset, end))
            table[key] = repr(encoded[start:offset])
    return table, end


def _end_of_value(encoded: bytes, offset: int, end: int) -> int:
    """Return the end of a value; ``end``, that of its table, if its type does not tell."""
    kind, rest = encoded[offset : offset + 1], offset + 1
    if kind in _WIDTHS:
        return rest + _WIDTHS[kind]
    if kind in b"AF":
        return rest + 4 + int.from_bytes(encoded[rest : rest + 4])
    return end
