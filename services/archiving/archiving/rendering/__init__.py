"""Rendering: the text of an IM that was not sent as plain UTF-8 text.

Officers read it, and searches find it. It stands beside the content, which is kept byte for byte. Content
that cannot be rendered is archived without.
"""

import logging
from functools import lru_cache
from typing import Final, NamedTuple

from archiving.rendering.encrypted import kind_of_media
from archiving.rendering.heads import Head
from archiving.rendering.media import read_media
from archiving.rendering.reading import CARDS, FORM, HTML, RTF, Reader, is_json, is_xml

log = logging.getLogger("archiving")

_PGP: Final = b"-----BEGIN PGP "
_OTR: Final = b"?OTR"
_MOST_OF_TYPE: Final = 1000
"""Characters of a content type that are looked at here."""


class Rendering(NamedTuple):
    """The readable text of a content."""

    text: str | None
    """None: it says nothing that we can read. It is text that PostgreSQL can store."""
    encryption: str | None = None
    """Kind of encryption or signature, in small letters: ``omemo``, ``s/mime``; None if there is none."""


def render(
    content_type: str, content: bytes, content_encoding: str = "", *, is_text: bool = False
) -> Rendering:
    """Return the readable text of some content. Never raises.

    ``is_text``: it came as characters and is UTF-8 now, even if it names another character set.
    """
    try:
        rendering = _render(content_type, content, content_encoding, is_text=is_text)
    except Exception as error:  # whatever it is about, the IM is archived
        log.warning("no text could be made of an IM", extra={"error": type(error).__name__})
        return Rendering(None)
    if rendering.text is None:
        return rendering
    # Halves of surrogate pairs (RTF has such) become whole, or a mark; U+0000 PostgreSQL can't hold.
    text = rendering.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "")
    return Rendering(text or None, rendering.encryption)


def _render(content_type: str, content: bytes, content_encoding: str, *, is_text: bool) -> Rendering:
    reader = Reader(is_text=is_text)
    head = [("content-type", content_type)]
    if content_encoding:
        head.append(("content-encoding", content_encoding))
    reader.read(Head(head), content)
    return Rendering(reader.text, reader.encryption)


def needs_rendering(content_type: str) -> bool:
    """Return whether text of a type is markup or a container, and needs rendering."""
    return _needs_rendering(content_type[:_MOST_OF_TYPE])


@lru_cache(maxsize=1024)
def _needs_rendering(content_type: str) -> bool:
    kind = read_media(content_type).kind
    return (
        kind.startswith(("multipart/", "message/"))
        or kind in HTML | RTF | CARDS | {FORM}
        or is_xml(kind)
        or is_json(kind)
        or kind_of_media(kind, "") is not None
    )


def may_be_encrypted(content: bytes) -> bool:
    """Return whether some plain text has to be looked into: it has a mark of encryption.

    Each IM is asked: to look for one byte first takes a tenth of the time.
    """
    return (b"-" in content and _PGP in content) or (b"?" in content and _OTR in content)
