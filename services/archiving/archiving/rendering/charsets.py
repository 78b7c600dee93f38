"""Character sets by the names that clients use: those of the Encoding Standard, and others of theirs."""

import codecs
import logging
import re
from encodings.aliases import aliases
from functools import lru_cache
from typing import Final, NamedTuple

from webencodings import lookup
from webencodings.labels import LABELS

from archiving.metrics import GUESSED
from archiving.rendering import legacy

log = logging.getLogger("archiving")


_MOST: Final = 1 << 18
"""Bytes in which errors are looked at one by one, at most: each costs a microsecond."""


class Charset(NamedTuple):
    """A codec of Python, and its differences from the standard."""

    codec: str
    errors: str = "replace"
    name: str = ""
    """The standard's, if it has one."""

    def decode(self, content: bytes) -> str:
        """Return text; bytes that cannot be decoded are marked."""
        errors = self.errors if len(content) <= _MOST else "replace"
        text = content.decode(self.codec, errors)
        instead = legacy.INSTEAD.get(self.name)
        return text if instead is None or text.isascii() else text.translate(instead)


_HANDLERS: Final = {
    "euc-jp": "lcs-japanese",
    "iso-2022-jp": "lcs-japanese",
    "big5": "lcs-big5",
    "gbk": "lcs-gb",
    "gb18030": "lcs-gb",
    "windows-874": "lcs-control",
} | {f"windows-125{number}": "lcs-control" for number in range(9)}
_HANDLERS["windows-1255"] = "lcs-hebrew"
_CODECS: Final = {"gbk": "gb18030", "iso-2022-jp": "iso2022_jp_ext", "x-user-defined": "latin_1"}
"""Of Python, where webencodings names another that knows less than the standard."""
_READ: Final = {
    "csiso2022kr": "iso2022_kr",
    "iso-2022-kr": "iso2022_kr",
    "hz-gb-2312": "hz",
}
"""Labels that the standard decodes to a mark, lest a browser be fooled; here somebody wants to read it."""
_BEYOND: Final = frozenset(
    [
        *("cp437", "cp720", "cp737", "cp775", "cp850", "cp852", "cp855", "cp856", "cp857", "cp858", "cp860"),
        *("cp861", "cp862", "cp863", "cp864", "cp865", "cp869", "cp1006", "cp1125", "koi8_t", "kz1048"),
        *("cp037", "cp273", "cp424", "cp500", "cp875", "cp1026", "cp1140", "ptcp154", "johab", "hz"),
        *(
            "mac_arabic",
            "mac_croatian",
            "mac_farsi",
            "mac_greek",
            "mac_iceland",
            "mac_latin2",
            "mac_romanian",
        ),
        *("mac_turkish", "euc_jis_2004", "euc_jisx0213", "shift_jis_2004", "shift_jisx0213", "iso2022_kr"),
        *("iso2022_jp_1", "iso2022_jp_2", "iso2022_jp_2004", "iso2022_jp_3"),
        *("utf_7", "utf_32", "utf_32_be", "utf_32_le"),
    ]
)
"""Further codecs of Python for text that people write. Others (punycode, idna) may take quadratic time."""


def _squeeze(label: str) -> str:
    return re.sub("[^a-z0-9]", "", label)


def _invert(names: dict[str, str]) -> dict[str, str]:
    return {name: charset for charset, all_names in names.items() for name in all_names.split()}


_PAGES: Final = _invert(
    {
        "shift_jis": "932 943",
        "euc-jp": "954 20932 51932",
        "iso-2022-jp": "50220 50221 50222",
        "gbk": "936 1386 20936 51936",
        "gb18030": "54936",
        "hz": "52936",
        "big5": "950 951",
        "euc-kr": "949 970 1363 5601 20949 51949",
        "iso2022_kr": "50225",
        "johab": "1361",
        "utf-16le": "1200",
        "utf-16be": "1201",
        "utf_32_le": "12000",
        "utf_32_be": "12001",
        "utf_7": "65000",
        "utf-8": "65001",
        "us-ascii": "20127",
        "macintosh": "10000",
        "x-mac-cyrillic": "10007 10017",
        "koi8-r": "20866",
        "koi8-u": "21866",
        "iso-8859-8-i": "38598",
        "windows-1254": "28599",
    }
    | {f"iso-8859-{part}": str(28590 + part) for part in (1, 2, 3, 4, 5, 6, 7, 8, 13, 15)}
)
"""By numbers: Windows' code pages (Microsoft Learn, "Code Page Identifiers") and some of IBM's."""
_OTHERS: Final = _invert(
    {
        "shift_jis": "sjiswin sjisms macjapanese macjapan",
        "euc-jp": "eucjpms eucjpwin ujis",
        "iso-2022-jp": "windowsiso2022jp iso2022jpms iso2022jpext jis",
        "gbk": "euccn gb231280 macchinesesimp macchinesesimplified",
        "big5": "big5eten big5hkscs2004 macchinesetrad macchinesetraditional",
        "euc-kr": "uhc euckrms ksx1001 mackorean",
        "utf-8": "utf8mb4 utf8mb3 utf8sig",
        "utf_7": "unicode11utf7 unicode20utf7",
        "utf-16le": "ucs2 ucs2le",
        "utf-16be": "ucs2be",
        "utf_32_be": "ucs4 ucs4be",
        "utf_32_le": "ucs4le",
        "windows-874": "iso885911 thai macthai",
        "iso-8859-8": "machebrew",
        "iso-8859-15": "latin0",
        "windows-1252": "ansi",
        "mac_latin2": "macce macintoshce maccentraleurope maccentralroman",
        "mac_iceland": "macicelandic",
        "mac_romanian": "macromania",
        "koi8-r": "koi8",
        "kz1048": "windowskz1048 kz10482002 strk10482002",
        "ptcp154": "paratype",
    }
)
"""Names of Java, Microsoft, Apple, iconv and MySQL, squeezed."""
_SQUEEZED: Final = {_squeeze(label): label for label in LABELS}
_PYTHON: Final = {
    _squeeze(alias): codec if codec in _BEYOND else _SQUEEZED[_squeeze(codec)]
    for alias, codec in (*aliases.items(), *((codec, codec) for codec in _BEYOND))
    if codec in _BEYOND or _squeeze(codec) in _SQUEEZED
}
_NUMBERED: Final = re.compile(
    r"(?:cp|ccsid|ibm|ms|msft|oem|pc|dos|win|windows|codepage|x)*0*([1-9][0-9]{2,4})"
)
_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf_32_le"),
    (codecs.BOM_UTF32_BE, "utf_32_be"),
    (codecs.BOM_UTF16_LE, "utf-16le"),
    (codecs.BOM_UTF16_BE, "utf-16be"),
)


def decode(content: bytes, label: str = "") -> str:
    """Return text by its byte order mark, else by its declared character set, else as a best guess.

    An unknown label is guessed as well, and counted: noise is never silent.
    """
    for mark, name in _BOMS:
        if content.startswith(mark) and (len(mark) < 4 or len(content) % 4 == 0):
            return content[len(mark) :].decode(name, "replace")
    if not label:
        return _guess(content)
    charset = find(label)
    if charset is not None:
        return charset.decode(content)
    GUESSED.labels("unknown").inc()
    log.info("an IM in a character set that we don't know", extra={"charset": label[:40]})
    return _guess(content)


def _guess(content: bytes) -> str:
    """UTF-8 if it is that or nearly, Japanese by its escapes, else Windows' page that has all bytes."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        GUESSED.labels("not UTF-8").inc()
        text = content.decode("utf-8", "replace")
        foreign = len(text) - len(text.encode("ascii", "ignore"))
        if foreign > 2 * text.count("\N{REPLACEMENT CHARACTER}"):  # cut short, say
            return text
        return content.decode("cp1252", "lcs-control")
    if "\x1b$" in text and text.isascii():
        return Charset("iso2022_jp_ext", "lcs-japanese", "iso-2022-jp").decode(content)
    return text


def find(label: str) -> Charset | None:
    """Return the character set of a label, None if it is unknown.

    The standard's labels count exactly as they are there; then any spelling of these, and other systems'
    labels.
    """
    return _find(label[:60])


@lru_cache(maxsize=256)
def _find(label: str) -> Charset | None:
    label = label.partition("(")[0].strip("\t\n\f\r '\"").lower()  # without a comment (RFC 822)
    if label in _READ:
        return Charset(_READ[label])
    if label in LABELS:
        return _standard(label)
    squeezed = _squeeze(label)
    for name in (squeezed, squeezed.removeprefix("x"), squeezed.removeprefix("cs")):
        found = _OTHERS.get(name) or _SQUEEZED.get(name) or _PYTHON.get(name)
        if found is not None:
            return _named(found)
    number = _NUMBERED.fullmatch(squeezed)
    if number is None:
        return None
    page = number[1]
    return _named(_PAGES.get(page) or _PYTHON.get(f"cp{page}") or f"windows-{page}")


def _named(name: str) -> Charset | None:
    """Return a character set by a codec of Python or a label of the standard, None if it is neither."""
    if name in _BEYOND:
        return Charset(name)
    return find(name) if name in LABELS or name in _READ else None


def _standard(label: str) -> Charset | None:
    """Return a character set of the standard by any of its labels."""
    encoding = lookup(label)
    if encoding is None or encoding.name == "replacement":
        return None
    codec = _CODECS.get(encoding.name) or encoding.codec_info.name
    return Charset(codec, _HANDLERS.get(encoding.name, "replace"), encoding.name)
