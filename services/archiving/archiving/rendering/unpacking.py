"""Content as it was before it was encoded for the way or compressed, in bounded time and memory."""

import binascii
import re
import zlib
from typing import Final

_MOST: Final = 1 << 20
"""Bytes that a content may have when it is decompressed."""
_MOST_CODINGS: Final = 4
_MOST_MEMBERS: Final = 16
"""Of a gzip file (RFC 1952, 2.2)."""
_NO_BASE64: Final = re.compile(rb"[^A-Za-z0-9+/]+")


def undo_transfer_encoding(encoding: str, content: bytes) -> bytes:
    """Return content as it was before it was encoded for the way (RFC 2045, 6)."""
    match encoding.strip().lower():
        case "base64":
            return _decode_base64(content)
        case "quoted-printable":
            return binascii.a2b_qp(content)
        case _:
            return content


def _decode_base64(content: bytes) -> bytes:
    try:
        return binascii.a2b_base64(content)
    except binascii.Error:  # cut short
        letters = _NO_BASE64.sub(b"", content)
        return binascii.a2b_base64(letters[: len(letters) // 4 * 4])


def decompress(codings: str, content: bytes) -> bytes | None:
    """Return content as it was before it was compressed, one coding after the other (RFC 9110, 8.4).

    None if a coding is unknown, or its bytes are none of it, or come to more than a megabyte.
    """
    names = codings.lower().split(",", _MOST_CODINGS)
    try:
        for name in reversed(names):
            match name.strip():
                case "" | "identity":
                    pass
                case "gzip" | "x-gzip":
                    content = _inflate(content, 31)
                case "deflate":
                    content = _inflate_either(content)
                case _:
                    return None
    except (zlib.error, OverflowError):
        return None
    return content


def _inflate_either(content: bytes) -> bytes:
    """Clients mean two things by deflate: zlib's format, as RFC 9110 does, and what is inside it."""
    try:
        return _inflate(content, 15)
    except zlib.error:
        return _inflate(content, -15)


def _inflate(content: bytes, window: int) -> bytes:
    """Return what is there, even if it is cut short. Raises zlib.error; OverflowError if it is too much."""
    whole = b""
    for _ in range(_MOST_MEMBERS):
        inflater = zlib.decompressobj(window)
        whole += inflater.decompress(content, _MOST + 1 - len(whole))
        if len(whole) > _MOST:
            raise OverflowError
        content = inflater.unused_data
        if window != 31 or not content.strip(b"\0"):
            break
    return whole
