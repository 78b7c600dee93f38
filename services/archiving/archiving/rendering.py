"""The text of an IM that was not sent as plain UTF-8 text: what an officer reads, and a search finds.

It stands beside the content, which is kept byte for byte. What can't be rendered is archived without.
"""

import binascii
import contextlib
import logging
import re
from encodings import normalize_encoding
from encodings.aliases import aliases
from html import unescape
from typing import Final

from archiving.rtf import text_of_rtf
from contract.message import split_cpim

log = logging.getLogger("archiving")

_MOST: Final = 1 << 18
"""Bytes (of RTF) or characters of markup that are read: each costs a microsecond, and other IMs wait."""
_UNSEEN: Final = frozenset({"script", "style", "title"})
_BREAKS: Final = frozenset({"br", "div", "li", "p", "td", "th", "tr", "h1", "h2", "h3", "h4", "h5", "h6"})
_ENDS: Final = {kind: re.compile(f"</{kind}", re.IGNORECASE | re.ASCII) for kind in _UNSEEN}
_TAG: Final = re.compile(r"<(?:!--|[!?]|(/?[A-Za-z][A-Za-z0-9]*))")
_COMMENT: Final = re.compile(r"<!--(?:-?>|.*?--!?>)", re.DOTALL)  # WHATWG's HTML, 13.2.5.43 and the following
_LONG_NUMBER: Final = re.compile(r"&#([0-9]{8,})")
_CHARSET: Final = re.compile(r";\s*charset\s*=\s*\"?([A-Za-z0-9_.:+-]{1,40})", re.IGNORECASE | re.ASCII)
_HTML: Final = frozenset({"text/html", "application/xhtml+xml"})
_RTF: Final = frozenset({"text/rtf", "application/rtf"})
_CPIM: Final = "message/cpim"
_CODEC: Final = re.compile(
    r"ascii|latin_1|utf_(?:8|16|32)(?:_[bl]e)?|iso8859_\d{1,2}|cp\d{3,4}|koi8_[ru]|kz1048|mac_[a-z]{1,9}\d?|tis_620"
    r"|big5(?:hkscs)?|gb2312|gbk|gb18030|hz|euc_(?:jp|kr)|iso2022_(?:jp(?:_\d)?|kr)|shift_jis(?:_2004)?|johab"
)
"""Of Python's codecs those for text that people write. Others (punycode) may take quadratic time; and Python
remembers every name that it is asked for."""


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


def _kind_of(content_type: str) -> str:
    kind = content_type.partition(";")[0].strip().lower()
    return kind if kind.count("/") == 1 else "text/plain"  # RFC 2045, 5.2


def _render(content_type: str, content: bytes) -> str | None:
    kind = _kind_of(content_type)
    if kind == _CPIM:
        part = split_cpim(content)
        if part is None or _kind_of(part.content_type) == _CPIM:
            return None
        return _render(part.content_type, _decode_transfer(part.transfer_encoding, part.content))
    if kind in _RTF:
        return text_of_rtf(content[:_MOST])
    if kind in _HTML:
        return _text_of_html(_decode(content_type, content)[:_MOST])
    if kind.startswith("text/"):
        return _decode(content_type, content)
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


def _decode(content_type: str, content: bytes) -> str:
    """Return text by the character set that is said, else UTF-8 if it is that, else Windows' (it has all)."""
    charset = _CHARSET.search(content_type)
    if charset is not None:
        name = normalize_encoding(charset[1]).lower()
        codec = aliases.get(name, name)
        if _CODEC.fullmatch(codec):
            with contextlib.suppress(LookupError):
                return content.decode(codec, "replace")
        log.info("an IM in a character set that we don't know", extra={"charset": charset[1]})
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _text_of_html(source: str) -> str:
    """Return what a reader of a page sees, a line for each block.

    Every step goes forward, so the time is linear whatever stands there: parsers that look back have been
    made to take minutes.
    """
    said: list[str] = []
    place = 0
    while (tag := source.find("<", place)) >= 0:
        said.append(_flow(source[place:tag]))
        name = _TAG.match(source, tag)
        if name is None:  # no tag, but the character
            said.append("<")
            place = tag + 1
            continue
        if name[0] == "<!--":
            comment = _COMMENT.match(source, tag)
            end = -1 if comment is None else comment.end() - 1
        else:
            end = source.find(">", tag)
        kind = name[1].lower() if name[1] else ""
        if end >= 0 and kind in _UNSEEN:
            closing = _ENDS[kind].search(source, end)
            end = source.find(">", closing.end()) if closing is not None else -1
        if end < 0:  # the rest is a tag, or nothing to be seen
            place = len(source)
            break
        if kind.lstrip("/") in _BREAKS:
            said.append("\n")
        place = end + 1
    said.append(_flow(source[place:]))
    lines = (" ".join(line.split()) for line in "".join(said).split("\n"))
    return "\n".join(line for line in lines if line)


def _flow(text: str) -> str:
    """Return text between tags: its own line breaks are spaces."""
    text = _LONG_NUMBER.sub(_shorten, text.replace("\r", " ").replace("\n", " "))
    return unescape(text)


def _shorten(number: re.Match[str]) -> str:
    """Return a character's number so short that Python reads it, which refuses more than 4,300 digits."""
    return "&#" + number[1].lstrip("0")[:8].rjust(1, "0")


def needs_rendering(content_type: str) -> bool:
    """Whether content that was sent as UTF-8 text is no text to read: markup."""
    return _kind_of(content_type) in _HTML | _RTF
