"""The text of JSON, in time linear in its length, whether it parses or not."""

import json
import re
from typing import Final

from archiving.rendering.encrypted import is_ciphertext, is_unreadable, kind_of_algorithm

_STRING: Final = re.compile(r'"([^"\\]*+(?:\\.[^"\\]*+)*+)(?:"|\\?\Z)(\s*+:)?', re.DOTALL)


def text_of_json(source: str) -> tuple[str, str | None]:
    """Return the strings of a document, a line each; and the kind of encryption of some of them.

    A name counts if it has more than one word. Every string is found, also where a name stands twice.
    """
    strings: list[str] = []
    encryption: str | None = None
    sealed = False
    for inner, colon in _STRING.findall(source):
        text = _unescape(inner)
        if colon:
            sealed = sealed or text == "ciphertext"
            if len(text.split(None, 1)) < 2:
                continue
        else:
            encryption = encryption or kind_of_algorithm(text)
        if not is_unreadable(text):
            strings.append(text)
    if sealed and encryption is None:
        encryption = "jose"  # RFC 7516, 7.2
    if encryption is not None:
        strings = [text for text in strings if not is_ciphertext(text)]
    return "\n".join(text for text in strings if text), encryption


def _unescape(inner: str) -> str:
    if "\\" not in inner:
        return inner
    try:
        return str(json.loads(f'"{inner}"', strict=False))
    except ValueError:
        return inner
