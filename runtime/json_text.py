"""JSON that every reader reads alike: in UTF-8, not compressed, with each name once in an object.

RFC 8259, 4: of a name that stands twice some readers take the first value, some the last. A proxy that looks
at the one and a front end that takes the other would see different senders.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from runtime.problem import Problem

BOM: Final = b"\xef\xbb\xbf"
"""A byte order mark (RFC 8259, 8.1: a reader may ignore it)."""
_UTF_8: Final = ("utf-8", "utf8", "us-ascii")


class RepeatedNameError(ValueError):
    """Raised for a name that stands twice in one object; the text names it and the mend."""


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise Problem (415) for a request's body that is compressed, or in another character set than UTF-8.

    ``headers``: the request's; case of names does not matter.
    """
    coding = headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity"):
        raise Problem(
            415,
            f"the request is compressed ({coding[:40]}): send it as it is, without Content-Encoding",
            headers={"Accept-Encoding": "identity"},  # RFC 7694, 3
        )
    _, semicolon, charset = headers.get("content-type", "").lower().partition("charset=")
    charset = charset.partition(";")[0].strip(' "')
    if semicolon and charset not in _UTF_8:
        raise Problem(415, f"the request is in the character set {charset[:40]!r}: send it in UTF-8")


def check_names(raw: bytes) -> None:
    """Raise RepeatedNameError if a name stands twice in an object.

    Raises another ValueError if the text is no JSON in UTF-8, or nested too deep to be read.
    """
    try:
        # json.loads would guess UTF-16 and UTF-32 of bytes, and takes NaN for a number.
        json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_check_pairs, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("the request is nested too deep") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _check_pairs(pairs: list[tuple[str, Any]]) -> None:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise RepeatedNameError(f"the name {twice[:80]!r} stands twice in one object: send it once")
