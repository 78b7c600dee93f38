"""Bodies of MIME (RFC 2045, 2046): type, parameters of a header, parts of a multipart."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

FOLD: Final = re.compile(rb"\r\n[ \t]+")
_PARAMETER: Final = re.compile(r';\s*(?P<name>[^\s;="]+)\s*(?:=\s*(?P<value>"(?:[^"\\]|\\.)*"|[^;]*))?')


_MAX_PARTS: Final = 100


class MIMEError(ValueError):
    """A body that is not of its type; the text says why."""


class BodyPart(NamedTuple):
    """A part of a multipart body."""

    headers: dict[str, str]
    """Headers by name, in lower case; of a repeated name the last."""
    fields: int
    """The number of its headers."""
    content: bytes


class Multipart(NamedTuple):
    """A multipart body."""

    preamble: bytes
    parts: list[BodyPart]
    epilogue: bytes


def type_of(content_type: str) -> str:
    """Return ``type/subtype`` in lower case."""
    return content_type.partition(";")[0].strip().lower()


def parameters_of(value: str) -> dict[str, str]:
    """Return the parameters of a header's value by name, in lower case."""
    return {
        match["name"].lower(): (match["value"] or "").strip().strip('"')
        for match in _PARAMETER.finditer(value)
    }


def split_parts(content_type: str, body: bytes) -> Multipart:
    """Return the parts of a body (RFC 2046, 5.1.1). Raises MIMEError."""
    kind = type_of(content_type)
    boundary = parameters_of(content_type).get("boundary", "")
    if not kind.startswith("multipart/") or not boundary:
        raise MIMEError("no body of several parts")
    preamble, *pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode(), _MAX_PARTS + 1)
    if len(pieces) > _MAX_PARTS:  # the end among them
        raise MIMEError(f"a body of {_MAX_PARTS} parts or more")
    parts: list[BodyPart] = []
    for place, piece in enumerate(pieces):
        if piece.startswith(b"--"):
            if place + 1 < len(pieces):
                raise MIMEError("parts after the end")
            return Multipart(preamble.removeprefix(b"\r\n"), parts, piece[2:])
        head, separator, content = piece.partition(b"\r\n\r\n")
        if not separator or not piece.startswith(b"\r\n"):
            raise MIMEError("a part without a head")
        headers = list(_headers_of(head))
        parts.append(BodyPart(dict(headers), len(headers), content))
    raise MIMEError("parts without an end")


def _headers_of(head: bytes) -> Iterator[tuple[str, str]]:
    for line in FOLD.sub(b" ", head).decode(errors="replace").split("\r\n"):
        name, _, value = line.partition(":")
        if line:
            yield name.strip().lower(), value.strip()
