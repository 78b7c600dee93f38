"""The text of HTML, in time linear in its length."""

import re
from html import unescape
from typing import Final

_UNSEEN: Final = frozenset({"script", "style"})
_BREAKS: Final = frozenset(
    {"br", "div", "li", "p", "td", "th", "title", "tr", "h1", "h2", "h3", "h4", "h5", "h6"}
)
_ENDS: Final = {kind: re.compile(f"</{kind}", re.IGNORECASE | re.ASCII) for kind in _UNSEEN}
_TAG: Final = re.compile(r"<(?:!--|[!?]|(/?[A-Za-z][A-Za-z0-9]*))")
_COMMENT: Final = re.compile(r"<!--(?:-?>|.*?--!?>)", re.DOTALL)  # WHATWG's HTML, 13.2.5.43 and the following
_CDATA: Final = "<![CDATA["
_LONG_NUMBER: Final = re.compile(r"&#([0-9]{8,})")
_COMMENTS: Final = re.compile(rb"<!--.*?-->", re.DOTALL)
_META: Final = re.compile(rb"<meta[\s/]([^>]{0,512})", re.IGNORECASE)
_META_CHARSET: Final = re.compile(rb"charset\s*+=\s*+[\"']?+\s*+([A-Za-z0-9_.:+-]{1,40})", re.IGNORECASE)
_ATTRIBUTE: Final = re.compile(
    r"\s(alt|title|aria-label|placeholder|value|href)\s*+=\s*+(?:\"([^\"]*+)|'([^']*+)|([^\s>]++))",
    re.IGNORECASE,
)
"""Attributes that people read; of a link where it leads."""
_HEAD: Final = 1024
"""Bytes in which a page may say its character set (WHATWG's HTML, 13.2.3.2)."""


def charset_of_html(source: bytes) -> str:
    """Return the character set that a page says of itself (``<meta>``), empty if it doesn't.

    If it says UTF-16, in letters that are no UTF-16, it means UTF-8 (WHATWG's HTML, 13.2.3.2).
    """
    for meta in _META.finditer(_COMMENTS.sub(b"", source[:_HEAD])):
        charset = _META_CHARSET.search(meta[1])
        if charset is not None:
            label = charset[1].decode()
            return "utf-8" if label.lower().startswith("utf-16") else label
    return ""


def text_of_html(source: str) -> str:
    """Return the visible text of a page, a line for each block; then the text in attributes.

    Every step goes forward, so the time is linear for any input: parsers that look back have been made to
    take minutes.
    """
    pieces: list[str] = []
    asides: list[str] = []
    place = 0
    while (tag := source.find("<", place)) >= 0:
        pieces.append(_flow(source[place:tag]))
        if source.startswith(_CDATA, tag):  # text in XHTML
            end = source.find("]]>", tag)
            end = len(source) if end < 0 else end
            pieces.append(source[tag + len(_CDATA) : end])
            place = end + 3
            continue
        name = _TAG.match(source, tag)
        if name is None:  # no tag, but the character
            pieces.append("<")
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
            pieces.append("\n")
        for _, *values in _ATTRIBUTE.findall(source, tag, end if kind else tag):
            asides.append(" ".join(_flow("".join(values)).split()))
        place = end + 1
    pieces.append(_flow(source[place:]))
    text = "".join(pieces)
    lines = [line for row in text.split("\n") if (line := " ".join(row.split()))]
    seen = {*text.split(), *lines}
    return "\n".join([*lines, *(aside for aside in dict.fromkeys(asides) if aside and aside not in seen)])


def _flow(text: str) -> str:
    """Return text between tags: its own line breaks are spaces."""
    text = _LONG_NUMBER.sub(_shorten, text.replace("\r", " ").replace("\n", " "))
    return unescape(text)


def _shorten(number: re.Match[str]) -> str:
    """Return a character's number so short that Python reads it, which refuses more than 4,300 digits."""
    return "&#" + number[1].lstrip("0")[:8].rjust(1, "0")
