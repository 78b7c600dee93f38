"""Heads of messages and their parts (RFC 5322, RFC 2045, RFC 3862)."""

import re
from typing import Final, NamedTuple

from archiving.rendering.charsets import decode
from archiving.rendering.media import Media, read_media, read_value
from archiving.rendering.unpacking import undo_transfer_encoding

_MOST: Final = 1 << 14
"""Bytes of a head that are read."""
_END: Final = re.compile(rb"\r?\n\r?\n")
_FOLD: Final = re.compile(r"\r?\n[ \t]+")
_FIELD: Final = re.compile(rb"[!-9;-~]{1,80}[ \t]{0,8}:")
_WORD: Final = re.compile(r"=\?([^?\s]{1,60})\?([BbQq])\?([^?\s]*+)\?=(?:\s++(?==\?))?")


class Head(NamedTuple):
    """The head of a message or a part."""

    fields: list[tuple[str, str]]
    """Names in small letters, values with their encoded words decoded (RFC 2047)."""

    def get(self, name: str) -> str:
        """Return the first value of a field, empty if there is none."""
        return next((value for key, value in self.fields if key == name), "")

    @property
    def media(self) -> Media:
        """The content's type, plain text if none is declared."""
        return read_media(self.get("content-type") or "text/plain")

    @property
    def file_name(self) -> str:
        """The name of the file that the content is, empty if it has none."""
        disposition = read_value(self.get("content-disposition")).parameters.get("filename", "")
        return decode_words(disposition or self.media.parameters.get("name", ""))


def split_head(content: bytes) -> tuple[Head, bytes]:
    """Return the head of a message or a part, and the rest; text that begins otherwise has no head."""
    for newline in (b"\r\n", b"\n"):
        if content.startswith(newline):
            return Head([]), content[len(newline) :]
    if _FIELD.match(content) is None:
        return Head([]), content
    end = _END.search(content)
    head, rest = (content, b"") if end is None else (content[: end.start()], content[end.end() :])
    fields = []
    for line in _FOLD.sub(" ", decode(head[:_MOST])).splitlines():
        name, _, value = line.partition(":")
        fields.append((name.strip().lower(), value.strip()))
    return Head(fields), rest


def decode_words(value: str) -> str:
    """Return a value with its encoded words (RFC 2047) decoded."""
    return _WORD.sub(_decode_word, value) if "=?" in value else value


def _decode_word(word: re.Match[str]) -> str:
    label, encoding, text = word.groups()
    letters = text.encode("utf-8", "surrogatepass")
    if encoding in "Bb":
        decoded = undo_transfer_encoding("base64", letters)
    else:
        decoded = undo_transfer_encoding("quoted-printable", letters.replace(b"_", b" "))
    return decode(decoded, label.partition("*")[0])  # RFC 2231, 5: a language may follow
