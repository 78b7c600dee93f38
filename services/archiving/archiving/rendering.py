"""The text of an IM that was not sent as plain UTF-8 text: what an officer reads, and a search finds.

It stands beside the content, which is kept byte for byte. What can't be rendered is archived without.
"""

import codecs
import logging
import re
from email import message_from_bytes
from email.message import Message
from html import unescape
from typing import Final

from archiving.rtf import text_of_rtf

log = logging.getLogger("archiving")

_UNSEEN: Final = frozenset({"script", "style", "title"})
_BREAKS: Final = frozenset({"br", "div", "li", "p", "td", "th", "tr", "h1", "h2", "h3", "h4", "h5", "h6"})
_ENDS: Final = {kind: re.compile(f"</{kind}", re.IGNORECASE | re.ASCII) for kind in _UNSEEN}
_TAG: Final = re.compile(r"<(?:!--|[!?]|(/?[A-Za-z][A-Za-z0-9]*))")
_HTML: Final = frozenset({"text/html", "application/xhtml+xml"})
_RTF: Final = frozenset({"text/rtf", "application/rtf"})
_CPIM: Final = "message/cpim"


def render(content_type: str, content: bytes) -> str | None:
    """Return the text of some content, None if it has none that we can read. Never raises.

    It is text that PostgreSQL can store.
    """
    try:
        text = _render(_head_of(content_type), content)
    except Exception as error:  # whatever it is about, the IM is archived
        log.warning("no text could be made of an IM", extra={"error": type(error).__name__})
        return None
    if text is None:
        return None
    # Halves of surrogate pairs (RTF has such) become whole, or a mark; U+0000 PostgreSQL can't hold.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "")


def _head_of(content_type: str) -> Message:
    head = Message()
    head["Content-Type"] = content_type.replace("\r", " ").replace("\n", " ")
    return head


def _render(head: Message, content: bytes) -> str | None:
    kind = head.get_content_type()
    if kind == _CPIM:  # RFC 3862: two heads, then what is said
        inner = message_from_bytes(content.partition(b"\r\n\r\n")[2])
        payload = inner.get_payload(decode=True)
        return _render(inner, payload) if isinstance(payload, bytes) else None
    if kind in _RTF:
        return text_of_rtf(content)
    if kind in _HTML:
        return _text_of_html(_decode(head, content))
    if kind.startswith("text/"):
        return _decode(head, content)
    return None


def _decode(head: Message, content: bytes) -> str:
    """Return text by the character set that is said, else UTF-8 if it is that, else Windows' (it has all)."""
    charset = head.get_content_charset()
    if charset is not None:
        try:
            return content.decode(codecs.lookup(charset).name, "replace")
        except (LookupError, UnicodeError):
            log.info("an IM in a character set that we don't know", extra={"charset": charset[:40]})
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
        end = source.find("-->" if name[0] == "<!--" else ">", tag)
        kind = name[1].lower() if name[1] else ""
        if end >= 0 and kind in _UNSEEN:
            closing = _ENDS[kind].search(source, end)
            end = source.find(">", closing.end()) if closing is not None else -1
        if end < 0:  # the rest is a tag, or nothing to be seen
            place = len(source)
            break
        if kind.lstrip("/") in _BREAKS:
            said.append("\n")
        place = source.index(">", end) + 1
    said.append(_flow(source[place:]))
    lines = (" ".join(line.split()) for line in "".join(said).split("\n"))
    return "\n".join(line for line in lines if line)


def _flow(text: str) -> str:
    """Return text between tags: its own line breaks are spaces."""
    return unescape(text.replace("\r", " ").replace("\n", " "))


def needs_rendering(content_type: str) -> bool:
    """Whether content that was sent as UTF-8 text is no text to read: markup."""
    return _head_of(content_type).get_content_type() in _HTML | _RTF
