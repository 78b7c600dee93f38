"""The text of RTF (Microsoft's "Rich Text Format Specification 1.9.1"), in time linear in its length."""

import re
from typing import Final

_TOKEN: Final = re.compile(
    rb"\\([a-zA-Z]{1,32})(-?[0-9]{1,9})? ?"  # a control word, and its number
    rb"|\\'([0-9a-fA-F]{2})"  # a byte
    rb"|\\([^a-zA-Z])"  # a control symbol
    rb"|([{}])|[\r\n]+|([^\\{}\r\n]+)|\\",
    re.DOTALL,
)
_UNSEEN: Final = frozenset(
    b"fonttbl colortbl stylesheet info pict object themedata datastore fldinst xmlnstbl listtable generator"
    b" listoverridetable rsidtbl header footer headerl headerr footerl footerr".split()
)
"""Destinations with invisible text."""
_WORDS: Final = {
    b"par": "\n", b"line": "\n", b"sect": "\n", b"page": "\n", b"row": "\n", b"tab": "\t", b"cell": "\t",
    b"lquote": "\u2018", b"rquote": "\u2019", b"ldblquote": "\u201c", b"rdblquote": "\u201d",
    b"bullet": "\u2022", b"endash": "\u2013", b"emdash": "\u2014",
}  # fmt: skip
_SYMBOLS: Final = {b"~": "\u00a0", b"_": "-", b"\n": "\n", b"\r": "\n"}
_CHARSETS: Final = {
    128: "cp932", 129: "cp949", 134: "gbk", 136: "cp950", 161: "cp1253", 162: "cp1254", 163: "cp1258",
    177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251", 222: "cp874", 238: "cp1250",
}  # fmt: skip
"""Of fonts (\\\\fcharset)."""


class _Reader:
    """The text read so far, and the present group."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self._bytes = bytearray()
        self._page = "cp1252"
        self._fonts: dict[int, str] = {}
        self._font = -1
        self._skip = 0
        self._unseen = False
        self._fallback = 1
        """Bytes after a \\\\u that say the same for older readers."""
        self._groups: list[tuple[bool, int, int]] = []

    def begin(self) -> None:
        self._groups.append((self._unseen, self._font, self._fallback))

    def end(self) -> None:
        self.flush()
        if self._groups:
            self._unseen, self._font, self._fallback = self._groups.pop()

    def say(self, text: str) -> None:
        self.flush()
        if not self._unseen:
            self.pieces.append(text)

    def say_bytes(self, text: bytes) -> None:
        if self._skip:
            text, self._skip = text[self._skip :], max(0, self._skip - len(text))
        if not self._unseen:
            self._bytes += text

    def flush(self) -> None:
        if self._bytes:
            self.pieces.append(self._bytes.decode(self._fonts.get(self._font, self._page), "replace"))
            self._bytes.clear()

    def obey(self, word: bytes, number: int | None) -> None:
        """Obey a control word."""
        if word in _WORDS:
            self.say(_WORDS[word])
        elif word == b"u" and number is not None:
            self.say(chr(number & 0xFFFF))
            self._skip = self._fallback
        elif word in _UNSEEN:
            self._unseen = True
        elif number is None:
            return
        elif word == b"uc":
            self._fallback = max(0, number)
        elif word == b"f":
            self.flush()
            self._font = number
        elif word == b"fcharset" and number in _CHARSETS:
            self._fonts[self._font] = _CHARSETS[number]
        elif word == b"ansicpg" and number in _PAGES:
            self._page = f"cp{number}"

    def hide(self) -> None:
        """See no more of this group."""
        self._unseen = True


_PAGES: Final = frozenset({437, 850, 874, 932, 949, 950, *range(1250, 1259)})


def text_of_rtf(source: bytes) -> str:
    """Return the visible text of a document."""
    reader = _Reader()
    place = 0
    while (token := _TOKEN.match(source, place)) is not None:
        place = token.end()
        word, number, byte, symbol, brace, text = token.groups()
        if word == b"bin":  # so many bytes that are no RTF
            place += max(0, int(number or 0))
        elif word is not None:
            reader.obey(word, None if number is None else int(number))
        elif byte is not None:
            reader.say_bytes(bytes.fromhex(byte.decode()))
        elif symbol == b"*":  # a destination that who doesn't know it leaves out
            reader.hide()
        elif symbol in _SYMBOLS:
            reader.say(_SYMBOLS[symbol])
        elif symbol is not None and symbol in b"\\{}":
            reader.say_bytes(symbol)
        elif brace == b"{":
            reader.begin()
        elif brace == b"}":
            reader.end()
        elif text is not None:
            reader.say_bytes(text)
    reader.flush()
    return "".join(reader.pieces).strip()
