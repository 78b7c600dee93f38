"""Content in an envelope of S/MIME that hides nothing: signed or compressed (RFC 5652, RFC 3274)."""

import binascii
import re
from typing import Final, NamedTuple

SIGNED: Final = bytes.fromhex("2a864886f70d010702")
COMPRESSED: Final = bytes.fromhex("2a864886f70d0109100109")
"""Object identifiers."""
_SEQUENCE: Final = 0x30
_OBJECT: Final = 0x06
_OCTETS: Final = 0x04
_CONSTRUCTED: Final = 0x20
_EXPLICIT: Final = 0xA0
_MOST_DEPTH: Final = 16
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/=\s]+")


class _Element(NamedTuple):
    """An element of BER (ITU-T X.690)."""

    tag: int
    start: int
    end: int
    """Length of its content; the length of all there is if it ends by a mark."""
    marked: bool


def open_envelope(content: bytes) -> tuple[bytes, bytes] | None:
    """Return the kind of an envelope, ``SIGNED`` or ``COMPRESSED``, and its content; None if it hides that.

    Content that is cut short is given as far as it goes.
    """
    if _BASE64.fullmatch(content) is not None:
        try:
            content = binascii.a2b_base64(content)
        except binascii.Error:
            return None
    try:
        return _open(content)
    except (IndexError, ValueError):
        return None


def _open(content: bytes) -> tuple[bytes, bytes] | None:
    kind = _read(content, _enter(content, 0, _SEQUENCE))
    name = content[kind.start : kind.end]
    if kind.tag != _OBJECT or name not in (SIGNED, COMPRESSED):
        return None
    place = _enter(content, _enter(content, kind.end, _EXPLICIT), _SEQUENCE)
    for _ in ("version", "algorithms"):
        place = _skip(content, place)
    inner = _read(content, _enter(content, place, _SEQUENCE))
    octets = _read(content, _enter(content, inner.end, _EXPLICIT))
    if octets.tag == _OCTETS:
        return name, content[octets.start : octets.end]
    if octets.tag != _OCTETS | _CONSTRUCTED:
        return None
    pieces: list[bytes] = []
    place = octets.start
    while place < octets.end and content[place : place + 2] != b"\0\0":
        piece = _read(content, place)
        if piece.tag != _OCTETS:
            break
        pieces.append(content[piece.start : piece.end])
        place = piece.end
    return name, b"".join(pieces)


def _read(content: bytes, place: int) -> _Element:
    """Return the element at a place. Raises IndexError if there is none."""
    tag, length, start = content[place], content[place + 1], place + 2
    if length == 0x80:
        return _Element(tag, start, len(content), marked=True)
    if length > 0x80:
        size = length & 0x7F
        if size > 4:
            raise ValueError("longer than anything is")
        start += size
        length = int.from_bytes(content[place + 2 : start])
    return _Element(tag, start, min(start + length, len(content)), marked=False)


def _enter(content: bytes, place: int, tag: int) -> int:
    """Return where the content of an element begins. Raises ValueError if it is another element."""
    element = _read(content, place)
    if element.tag != tag:
        raise ValueError("another element")
    return element.start


def _skip(content: bytes, place: int, depth: int = 0) -> int:
    """Return where the next element begins."""
    element = _read(content, place)
    if not element.marked:
        return element.end
    if depth == _MOST_DEPTH:
        raise ValueError("too deep")
    place = element.start
    while content[place : place + 2] != b"\0\0":
        place = _skip(content, place, depth + 1)
    return place + 2
