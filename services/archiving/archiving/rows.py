"""Rows of the table ``messages`` in PostgreSQL's binary COPY format, packed by hand.

The format (documentation of COPY, "Binary Format"): a header, per row the number of fields and each field's
length and bytes, a trailer. Packing it by hand costs 1 µs a row instead of 6.
"""

import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from operator import attrgetter
from types import SimpleNamespace
from typing import Any, Final, get_args

import msgspec

from archiving.metrics import ENCRYPTED
from archiving.rendering import may_be_encrypted, needs_rendering, render
from contract.encryption import EncryptionKind
from contract.message import IM, content_of

# Each column of messages that a worker fills, with its type; a group is packed together.
_KEY: Final = {"id": "uuid", "sent_at": "timestamptz"}
_ROUTE: Final = {"conversation_id": "int8", "sender_id": "int4", "recipient_ids": "int4[]"}
_SCOPE: Final = {"federated": "bool"}
_TEXT: Final = {"content_type_id": "int4", "body": "text"}
_CONTENT: Final = {"content": "bytea", "content_encoding": "text", "encryption": "text"}
_ORIGIN: Final = {"agent_id": "int4", "seq": "int8", "policy_version": "int8", "rule_id": "int2"}
_RECEIVED: Final = {"received_at": "timestamptz"}
_SELDOM: Final = {"spelled": "text[]"}
"""Columns that are null for most IMs, each packed by its type."""

COLUMNS: Final = _KEY | _ROUTE | _SCOPE | _TEXT | _CONTENT | _ORIGIN | _RECEIVED | _SELDOM
"""The columns of a row in their order, each with its type."""

_FORMATS: Final = {
    "uuid": "i16s",
    "timestamptz": "iq",
    "int8": "iq",
    "int4": "ii",
    "int2": "ih",
    "bool": "i?",
}
"""``struct``'s formats of a field: its length and its value. Of another type only the length is packed so."""


def _format_of(*groups: Mapping[str, str]) -> str:
    return "".join(_FORMATS.get(kind, "i") for group in groups for kind in group.values())


_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_TRAILER: Final = struct.pack(">h", -1)
_NULL: Final = struct.pack(">i", -1)
_NO_CONTENT: Final = _NULL * len(_CONTENT)
_NO_SELDOM: Final = _NULL * len(_SELDOM)
_seldom_of: Final[Callable[[object], object]] = attrgetter(*_SELDOM)
_USUAL: Final = _seldom_of(
    SimpleNamespace(**{field.name: field.default for field in msgspec.structs.fields(IM)})
)
_PACK_KEY: Final = struct.Struct(f">h{_format_of(_KEY)}").pack  # begins with the number of fields
_PACK_ROUTE: Final = struct.Struct(f">{_format_of(_ROUTE)}").pack
_PACK_SCOPE: Final = struct.Struct(f">{_format_of(_SCOPE)}").pack
_PACK_TEXT: Final = struct.Struct(f">{_format_of(_TEXT)}").pack
_PACK_ORIGIN: Final = struct.Struct(f">{_format_of(_ORIGIN, _RECEIVED)}").pack
_PACK_OLD_ORIGIN: Final = struct.Struct(f">{_format_of(_ORIGIN)}i").pack  # received_at is null

_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)  # from which PostgreSQL counts
_MILLISECONDS_TO_2000: Final = 946_684_800_000
_INT4: Final = 23  # PostgreSQL's numbers of types
_TEXT_TYPE: Final = 25

for _kind in get_args(EncryptionKind):
    ENCRYPTED.labels(_kind)  # counted from zero: a graph of what never was has no line


def join_rows(rows: list[bytes]) -> bytes:
    """Return rows as one COPY takes them.

    Sorted by id, so that two workers with the same IMs never wait for each other in a circle.
    """
    return b"".join((_HEADER, *sorted(rows), _TRAILER))


def pack_row(im: IM, route: bytes, content_type: int, agent: int, rule: int) -> bytes:
    """Return an IM as a row. ``route`` as ``pack_route`` makes it; the numbers are the database's.

    Raises ValueError for an IM that cannot be a row, struct.error for a number that is too large.
    """
    im_id = im.id.int
    milliseconds = im_id >> 80
    elapsed = im.sent_at - _UNIX_EPOCH
    if (
        im_id >> 76 & 0xF != 7  # the version of a UUID
        or (elapsed.days * 86_400 + elapsed.seconds) * 1000 != milliseconds - milliseconds % 1000
        or elapsed.microseconds != milliseconds % 1000 * 1000
    ):
        raise ValueError("sent_at is not the time inside id")
    content = content_of(im)
    if (
        im.content_type == "text/plain" and im.encoding == "text" and not may_be_encrypted(content)
    ):  # as nearly always
        head, tail = _PACK_TEXT(4, content_type, len(content)), _NO_CONTENT
    else:
        head, content, tail = _pack_content(im, content_type, content)
    if im.received_at is None:
        origin = _PACK_OLD_ORIGIN(4, agent, 8, im.seq, 8, im.policy_version, 2, rule, -1)
    else:
        elapsed = im.received_at - _EPOCH
        received = (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds
        origin = _PACK_ORIGIN(4, agent, 8, im.seq, 8, im.policy_version, 2, rule, 8, received)
    return b"".join(
        (
            _PACK_KEY(len(COLUMNS), 16, im_id.to_bytes(16), 8, (milliseconds - _MILLISECONDS_TO_2000) * 1000),
            route,
            head,
            content,
            tail,
            origin,
            _NO_SELDOM if _seldom_of(im) == _USUAL else _pack_seldom(im),
        )
    )


def pack_route(conversation: int, sender: int, recipients: list[int], federated: bool) -> bytes:
    """Return the fields of ``_ROUTE`` and ``_SCOPE``."""
    elements = b"".join(struct.pack(">ii", 4, recipient) for recipient in recipients)
    array = struct.pack(">iiiii", 1, 0, _INT4, len(recipients), 1) + elements
    return _PACK_ROUTE(8, conversation, 4, sender, len(array)) + array + _PACK_SCOPE(1, federated)


def _pack_content(im: IM, content_type: int, content: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the fields of ``_TEXT`` up to the length of body, body, and those of ``_CONTENT``.

    Content that needs one gets a text beside its bytes.
    """
    is_text = im.encoding == "text"
    readable = is_text and not needs_rendering(im.content_type)
    if readable and not may_be_encrypted(content):
        return _PACK_TEXT(4, content_type, len(content)), content, _NO_CONTENT
    text, encryption = render(im.content_type, content, im.content_encoding, is_text=is_text)
    if readable and encryption is None:
        return _PACK_TEXT(4, content_type, len(content)), content, _NO_CONTENT
    if encryption is not None:
        ENCRYPTED.labels(encryption).inc()
    body = b"" if text is None else text.encode()
    return (
        _PACK_TEXT(4, content_type, -1 if text is None else len(body)),
        body,
        _field(content) + _optional(im.content_encoding) + _optional(encryption),
    )


def _optional(text: str | None) -> bytes:
    return _pack_text(text) if text else _NULL


def _pack_array(texts: tuple[str, ...]) -> bytes:
    elements = b"".join(_field(text.encode()) for text in texts)
    return _field(struct.pack(">iiiii", 1, 0, _TEXT_TYPE, len(texts), 1) + elements)


def _pack_seldom(im: IM) -> bytes:
    values = {name: getattr(im, name) for name in _SELDOM}
    return b"".join(_PACKERS[_SELDOM[name]](value) if value else _NULL for name, value in values.items())


def _pack_text(text: str) -> bytes:
    return _field(text.encode())


def _field(content: bytes) -> bytes:
    return struct.pack(">i", len(content)) + content


_PACKERS: Final[Mapping[str, Callable[[Any], bytes]]] = {"text": _pack_text, "text[]": _pack_array}
