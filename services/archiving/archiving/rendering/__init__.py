"""The text of an IM that was not sent as plain UTF-8 text: what an officer reads, and a search finds.

It stands beside the content, which is kept byte for byte. What can't be rendered is archived without.
"""

import binascii
import logging
from typing import Final

from archiving.rendering.charsets import decode
from archiving.rendering.html import charset_of_html, text_of_html
from archiving.rendering.media import read_media
from archiving.rendering.rtf import text_of_rtf
from contract.message import split_cpim

log = logging.getLogger("archiving")

_MOST: Final = 1 << 18
"""Bytes (of RTF) or characters of markup that are read: each costs a microsecond, and other IMs wait."""
_HTML: Final = frozenset({"text/html", "application/xhtml+xml"})
_RTF: Final = frozenset({"text/rtf", "application/rtf"})
_CPIM: Final = "message/cpim"


def render(content_type: str, content: bytes) -> str | None:
    """Return the text of some content, None if it has none that we can read. Never raises.

    It is text that PostgreSQL can store.
    """
    try:
        text = _render(content_type, content)
    except Exception as error:  # whatever it is about, the IM is archived
        log.warning("no text could be made of an IM", extra={"error": type(error).__name__})
        return None
    if text is None:
        return None
    # Halves of surrogate pairs (RTF has such) become whole, or a mark; U+0000 PostgreSQL can't hold.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "")


def _render(content_type: str, content: bytes) -> str | None:
    media = read_media(content_type)
    if media.kind == _CPIM:
        part = split_cpim(content)
        if part is None or read_media(part.content_type).kind == _CPIM:
            return None
        return _render(part.content_type, _decode_transfer(part.transfer_encoding, part.content))
    if media.kind in _RTF:
        return text_of_rtf(content[:_MOST])
    if media.kind in _HTML:
        return text_of_html(decode(content, media.charset or charset_of_html(content))[:_MOST])
    if media.kind.startswith("text/"):
        return decode(content, media.charset)
    return None


def _decode_transfer(encoding: str, content: bytes) -> bytes:
    """Undo an encoding for the way (RFC 2045, 6). Raises ValueError."""
    match encoding.strip().lower():
        case "base64":
            return binascii.a2b_base64(content)
        case "quoted-printable":
            return binascii.a2b_qp(content)
        case _:
            return content


def needs_rendering(content_type: str) -> bool:
    """Whether content that was sent as UTF-8 text is no text to read: markup."""
    return read_media(content_type).kind in _HTML | _RTF
