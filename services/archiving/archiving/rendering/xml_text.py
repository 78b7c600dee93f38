"""The text of XML, in time linear in its length."""

import re
from typing import Final
from xml.parsers import expat

from archiving.rendering.encrypted import is_ciphertext, is_unreadable, kind_of_namespace
from archiving.rendering.html import text_of_html

_DECLARED: Final = re.compile(rb"\s*+<\?xml[^>]{0,200}?encoding\s*+=\s*+[\"']([A-Za-z0-9._-]{1,40})")
_ENTITY: Final = re.compile(r"<!ENTITY\s++([^>]{1,2000})")
_NAMESPACE: Final = re.compile(r"xmlns(?::[^\s=]{1,40}+)?\s*+=\s*+[\"']([^\"'<>]{1,100})")
_READABLE: Final = frozenset(
    {
        *("alt", "caption", "comment", "content", "data", "desc", "description", "display", "emoji", "href"),
        *("label", "message", "name", "nick", "nickname", "note", "placeholder", "reason", "said", "src"),
        *("status", "subject", "summary", "text", "title", "topic", "uri", "url", "value"),
    }
)
"""Attributes with text for people. Another counts as well if it has more than one word."""


class _FoundEntityError(Exception):
    """A document defines entities: they may grow without bound."""


def charset_of_xml(source: bytes) -> str:
    """Return the character set that a document's declaration says, empty if there is none."""
    if source.startswith((b"<\0", b"\0<")):  # XML, appendix F
        return "utf-16le" if source[0] else "utf-16be"
    declared = _DECLARED.match(source)
    return "" if declared is None else declared[1].decode()


def text_of_xml(source: str) -> tuple[str, str | None]:
    """Return the readable part of a document, a line an element; and the kind of encryption of the rest.

    Malformed XML is read as tag soup from the first error on.
    """
    reader = _Reader()
    content = source.encode("utf-8", "replace")
    try:
        reader.parser.Parse(content, True)
    except (expat.ExpatError, _FoundEntityError):
        reader.end_piece()
        rest = content[reader.seen :].decode("utf-8", "replace")
        reader.pieces += [text_of_html(rest), *_ENTITY.findall(rest)]
        kinds = (kind_of_namespace(namespace) for namespace in _NAMESPACE.findall(rest))
        reader.encryption = reader.encryption or next((kind for kind in kinds if kind), None)
    reader.end_piece()
    return "\n".join(dict.fromkeys(piece for piece in reader.pieces if piece)), reader.encryption


class _Reader:
    """The text read so far, and its element."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        """Of the document's outer elements. Two that say the same are one: a body, and the same in XHTML."""
        self.encryption: str | None = None
        self.seen = 0
        """Where the last tag begins."""
        self._said: list[str] = []
        self._attributes: list[str] = []
        self._inline: list[bool] = []
        self._sealed = 0
        """How deep in an element of encryption."""
        self.parser = parser = expat.ParserCreate("utf-8", " ")
        parser.buffer_text = True
        parser.StartElementHandler = self._begin
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._say
        parser.EntityDeclHandler = self._refuse

    def end_piece(self) -> None:
        """Begin a new piece."""
        lines = (" ".join(line.split()) for line in "".join(self._said).split("\n"))
        self.pieces.append("\n".join(line for line in (*lines, *self._attributes) if line))
        self._said.clear()
        self._attributes.clear()

    def _begin(self, name: str, attributes: dict[str, str]) -> None:
        self.seen = self.parser.CurrentByteIndex
        namespace = name.rpartition(" ")[0]
        kind = kind_of_namespace(namespace) or kind_of_namespace(attributes.get("namespace", ""))
        if kind is not None:
            self.encryption = self.encryption or kind
        self._sealed += 1 if kind is not None or self._sealed else 0
        inline = bool(self._said) and not self._said[-1][-1:].isspace()  # in the midst of a text
        self._inline.append(inline)
        if not inline:
            self._said.append("\n")
        for key, value in attributes.items():
            if key.rpartition(" ")[2].lower() in _READABLE or len(value.split(None, 1)) > 1:
                self._attributes.append(" ".join(value.split()))

    def _end(self, _: str) -> None:
        self.seen = self.parser.CurrentByteIndex
        self._sealed -= 1 if self._sealed else 0
        if not self._inline.pop():
            self._said.append("\n")
        if len(self._inline) == 1:
            self.end_piece()

    def _say(self, text: str) -> None:
        if not (is_ciphertext(text) if self._sealed else is_unreadable(text)):
            self._said.append(text)

    def _refuse(self, *_: object) -> None:
        raise _FoundEntityError
