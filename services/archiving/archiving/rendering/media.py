"""The media type of a content and its parameters, as a head says."""

import re
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from archiving.rendering.charsets import decode

_MOST: Final = 8192
"""Characters of a head's value that are read."""
_PARAMETER: Final = re.compile(
    r";\s*+([^\s=;\"]{1,80}+)\s*+=\s*+(?:\"([^\"\\]*+(?:\\.[^\"\\]*+)*+)|([^;]*+))", re.DOTALL
)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_SECTION: Final = re.compile(r"(.+?)(?:\*([0-9]{1,3}))?(\*)?")


class Media(NamedTuple):
    """A value such as ``text/html; charset=utf-8`` or ``attachment; filename=a.txt``."""

    kind: str
    """In small letters."""
    parameters: dict[str, str]

    @property
    def charset(self) -> str:
        """The label of the character set, empty if none is declared."""
        return self.parameters.get("charset", "")


def read_media(value: str) -> Media:
    """Return a content type; any other text counts as plain text (RFC 2045, 5.2)."""
    return _read_media(value[:_MOST])


@lru_cache(maxsize=256)
def _read_media(value: str) -> Media:
    media = read_value(value)
    return media if media.kind.count("/") == 1 else Media("text/plain", media.parameters)


def read_value(value: str) -> Media:
    """Return a value of a head with its parameters, long and foreign ones put together (RFC 2231)."""
    value = value[:_MOST]
    kind, _, rest = value.partition(";")
    if not rest:
        return Media(kind.strip().lower(), {})
    parameters: dict[str, list[tuple[int, bool, str]]] = {}
    for name, quoted, bare in _PARAMETER.findall(f";{rest}"):
        section = _SECTION.fullmatch(name.lower())
        if section is not None:
            text = _ESCAPED.sub(r"\1", quoted) if quoted else bare.strip()
            parameters.setdefault(section[1], []).append((int(section[2] or 0), section[3] is not None, text))
    return Media(kind.strip().lower(), {name: _join(sections) for name, sections in parameters.items()})


def _join(sections: list[tuple[int, bool, str]]) -> str:
    """Return a parameter's value: of two of one name and number the first counts."""
    if len(sections) == 1 and not sections[0][1]:
        return sections[0][2]
    label = ""
    whole: list[bytes] = []
    last = -1
    for number, foreign, text in sorted(sections, key=lambda section: (section[0], not section[1])):
        if number == last:
            continue
        last = number
        value = text
        if foreign and number == 0 and text.count("'") >= 2:
            label, _, value = text.split("'", 2)
        whole.append(unquote_to_bytes(value) if foreign else value.encode("utf-8", "surrogatepass"))
    return decode(b"".join(whole), label)
