"""A content of many parts, one in another, as one text."""

import re
from typing import Final
from urllib.parse import unquote_plus

from archiving.rendering.charsets import decode
from archiving.rendering.cms import COMPRESSED, open_envelope
from archiving.rendering.encrypted import SMIME, is_ciphertext, kind_of_media, strip_encrypted
from archiving.rendering.heads import Head, decode_words, split_head
from archiving.rendering.html import charset_of_html, text_of_html
from archiving.rendering.json_text import text_of_json
from archiving.rendering.media import Media
from archiving.rendering.rtf import text_of_rtf
from archiving.rendering.unpacking import Unpacker, undo_transfer_encoding
from archiving.rendering.xml_text import charset_of_xml, text_of_xml

MOST: Final = 1 << 18
"""Bytes (of RTF) or characters of markup that are read: each costs a microsecond, and other IMs wait."""
_MOST_PARTS: Final = 500
_MOST_DEPTH: Final = 12
HTML: Final = frozenset({"text/html", "application/xhtml+xml", "text/enriched"})
RTF: Final = frozenset({"text/rtf", "application/rtf", "application/x-rtf"})
CARDS: Final = frozenset(
    {"text/calendar", "text/vcard", "text/x-vcard", "text/x-vcalendar", "text/directory"}
)
FORM: Final = "application/x-www-form-urlencoded"
_SAID: Final = frozenset({"subject", "comments", "keywords", "content-description"})
"""Fields of a head that say something."""
_PEOPLE: Final = frozenset({"from", "to", "cc"})
_NO_WORDS: Final = re.compile(r"(?:from|to|cc|datetime|ns|require|imdn\..*|content-.*|message-id|date|)")
"""Fields of CPIM that say nothing (RFC 3862, RFC 5438)."""
_FIRST_LINE: Final = re.compile(rb"\s*--([^\r\n]{1,70})")
_FOLD: Final = re.compile(r"\r?\n[ \t]")
_ESCAPED: Final = re.compile(r"\\([nN,;\\])")
_UNREADABLE: Final = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def is_xml(kind: str) -> bool:
    """Return whether a media type is XML (RFC 7303)."""
    return kind.endswith("+xml") or kind in ("application/xml", "text/xml")


def is_json(kind: str) -> bool:
    """Return whether a media type is JSON, one document or several."""
    return kind.endswith(("+json", "/json", "+json-seq")) or kind in (
        "application/json-seq",
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
    )


class Reader:
    """Texts of a content, in order, and the kind of encryption of some of it."""

    def __init__(self, *, is_text: bool) -> None:
        """``is_text``: it came as characters and is UTF-8 now, even if it names another character set."""
        self.encryption: str | None = None
        self._is_text = is_text
        self._unpacker = Unpacker()
        self._said: dict[str, str] = {}
        self._parts = _MOST_PARTS

    @property
    def text(self) -> str:
        """Return the texts, a line for each; one that came twice (as text and as HTML) is there once."""
        return "\n".join(self._said.values())

    def read(self, head: Head, content: bytes, depth: int = 0) -> None:
        """Read a content as its head declares it."""
        file_name = head.file_name
        self._say(file_name)
        for name, value in head.fields:
            if name in _SAID:
                self._say(decode_words(value))
        media = head.media
        sealing = media.parameters.get("protocol", "") if media.kind == "multipart/encrypted" else media.kind
        encryption = kind_of_media(sealing, file_name)
        if encryption is not None:
            self._seal(encryption)
        unpacked = self._unpack(head, content)
        if unpacked is None:
            return
        is_text, self._is_text = self._is_text, self._is_text and unpacked is content
        self._parts -= 1
        deeper = depth < _MOST_DEPTH and self._parts > 0
        if deeper and media.kind.startswith(("multipart/", "message/")):
            self._read_container(media, unpacked, depth)
        elif not (deeper and encryption == SMIME and self._read_envelope(unpacked, depth)):
            self._read_leaf(media, unpacked, is_sealed=encryption is not None)
        self._is_text = is_text

    def _unpack(self, head: Head, content: bytes) -> bytes | None:
        """Return content decoded; unchanged if it was not encoded; None if it cannot be decoded."""
        content = undo_transfer_encoding(head.get("content-transfer-encoding"), content)
        codings = head.get("content-encoding")
        return self._unpacker.decompress(codings, content) if codings else content

    def _read_envelope(self, content: bytes, depth: int) -> bool:
        """Read the open content of an S/MIME envelope; return False if it hides its content."""
        opened = open_envelope(content)
        if opened is None:
            return False
        kind, inner = opened
        entity = self._unpacker.decompress("deflate", inner) if kind == COMPRESSED else inner
        if entity is None:
            return False
        self._is_text = False
        self.read(*split_head(entity), depth + 1)
        return True

    def _read_container(self, media: Media, content: bytes, depth: int) -> None:
        if media.kind.startswith("multipart/"):
            self._read_parts(media, content, depth)
        elif media.kind == "message/cpim":
            head, rest = split_head(content.lstrip(b"\r\n"))
            for name, value in head.fields:
                if _NO_WORDS.fullmatch(name) is None:
                    self._say(decode_words(value.partition(" ")[2] if value.startswith(";lang=") else value))
            self.read(*split_head(rest), depth + 1)
        elif media.kind in ("message/rfc822", "message/global", "message/news"):
            head, rest = split_head(content.lstrip(b"\r\n"))
            for name, value in head.fields:
                if name in _PEOPLE:
                    self._say(decode_words(value))
            self.read(head, rest, depth + 1)
        elif media.kind in ("message/sip", "message/sipfrag", "message/http"):
            head, body = split_head(content.partition(b"\n")[2])
            self._say(decode(content[: len(content) - len(body)]))
            self.read(head, body, depth + 1)
        else:
            self._read_leaf(media, content, is_sealed=False)

    def _read_parts(self, media: Media, content: bytes, depth: int) -> None:
        """Read the parts, and the text before and behind them."""
        boundary = media.parameters.get("boundary", "").encode("utf-8", "replace")
        if not boundary:
            first = _FIRST_LINE.match(content)
            boundary = b"" if first is None else first[1].rstrip()
        if not boundary:
            self._say(decode(content))
            return
        delimiter = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary) + rb"(--)?[ \t]*+(?=\r?\n|\Z)")
        place = 0
        inside = False
        for found in delimiter.finditer(content):
            self._read_piece(content[place : found.start()], depth, inside=inside)
            place = found.end()
            inside = found[1] is None
        self._read_piece(content[place:], depth, inside=inside)

    def _read_piece(self, piece: bytes, depth: int, *, inside: bool) -> None:
        piece = piece.removeprefix(b"\r\n") if piece.startswith(b"\r\n") else piece.removeprefix(b"\n")
        if inside and self._parts > 0:
            self.read(*split_head(piece), depth + 1)
        elif piece.strip():
            self._say(decode(piece))

    def _read_leaf(self, media: Media, content: bytes, *, is_sealed: bool) -> None:
        label = "utf-8" if self._is_text else media.charset
        if media.kind in RTF:
            self._say(text_of_rtf(content[:MOST]))
        elif media.kind in HTML:
            label = label or charset_of_xml(content) or charset_of_html(content)
            self._say(text_of_html(decode(content, label)[:MOST]))
        elif is_xml(media.kind):
            self._say_sealed(*text_of_xml(decode(content, label or charset_of_xml(content))[:MOST]))
        elif is_json(media.kind):
            self._say_sealed(*text_of_json(decode(content, label)[:MOST]))
        elif media.kind in CARDS:
            self._say(_text_of_card(content, label))
        elif media.kind == FORM:
            self._say(unquote_plus(decode(content, label).replace("&", "\n")))
        elif media.kind.startswith("text/"):
            self._say(decode(content, label))
        else:
            self._read_unknown(content, label, is_sealed=is_sealed)

    def _read_unknown(self, content: bytes, label: str, *, is_sealed: bool) -> None:
        """Read content of any kind: the label proves nothing, and text in it was sent."""
        if not label and not _is_utf8(content):
            return
        text = decode(content, label)
        if _UNREADABLE.search(text) is None and not (is_sealed and _says_nothing(text)):
            self._say(text)

    def _say_sealed(self, text: str, encryption: str | None) -> None:
        if encryption is not None:
            self._seal(encryption)
        self._say(text)

    def _say(self, text: str) -> None:
        text, encryption = strip_encrypted(text)
        if encryption is not None:
            self._seal(encryption)
        if words := " ".join(text.split()):
            self._said.setdefault(words, text)

    def _seal(self, encryption: str) -> None:
        self.encryption = self.encryption or encryption


def _text_of_card(content: bytes, label: str) -> str:
    """Return a calendar or a card with its lines whole (RFC 5545, 3.1; RFC 6350, 3.2)."""
    if b"ENCODING=QUOTED-PRINTABLE" in content.upper():  # vCard 2.1
        content = undo_transfer_encoding("quoted-printable", content)
    return _ESCAPED.sub(_unescape, _FOLD.sub("", decode(content, label)))


def _unescape(escaped: re.Match[str]) -> str:
    return "\n" if escaped[1] in "nN" else escaped[1]


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _says_nothing(text: str) -> bool:
    return is_ciphertext(text) or text.strip() == "Version: 1"  # RFC 3156, 4
