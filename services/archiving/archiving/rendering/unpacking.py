"""Content as it was before it was encoded for the way or compressed, in bounded time and memory."""

import binascii
import re
import zlib
from typing import Final

_MOST: Final = 1 << 20
"""Bytes that the contents of an IM may have when they are decompressed."""
_GZIP: Final = 31
_ZLIB: Final = 15
_RAW: Final = -15
"""Formats, as zlib numbers them ("wbits")."""
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


class Unpacker:
    """Decompresses the contents of one IM: together they come to a megabyte at most."""

    def __init__(self) -> None:
        self._room = _MOST

    def decompress(self, codings: str, content: bytes) -> bytes | None:
        """Return content as it was before it was compressed, one coding after the other (RFC 9110, 8.4).

        None if a coding is unknown, or its bytes are none of it or come to too much.
        """
        names = codings.lower().split(",", _MOST_CODINGS)
        try:
            for name in reversed(names):
                match name.strip():
                    case "" | "identity":
                        pass
                    case "gzip" | "x-gzip":
                        content = self._inflate(content, _GZIP)
                    case "deflate":
                        content = self._inflate_either(content)
                    case _:
                        return None
        except (zlib.error, OverflowError):
            return None
        return content

    def _inflate_either(self, content: bytes) -> bytes:
        """Clients mean two formats by deflate: zlib's, as RFC 9110 does, and the one inside it."""
        try:
            return self._inflate(content, _ZLIB)
        except zlib.error:
            return self._inflate(content, _RAW)

    def _inflate(self, content: bytes, window: int) -> bytes:
        """Return the content, even if it is cut short or has a tail.

        Raises zlib.error; OverflowError if it is too much.
        """
        whole = b""
        for _ in range(_MOST_MEMBERS):
            inflater = zlib.decompressobj(window)
            try:
                piece = inflater.decompress(content, self._room + 1)
            except zlib.error:
                if whole:
                    break
                raise
            if len(piece) > self._room:
                raise OverflowError
            self._room -= len(piece)
            whole += piece
            content = inflater.unused_data
            if window != _GZIP or not content:
                break
        return whole
