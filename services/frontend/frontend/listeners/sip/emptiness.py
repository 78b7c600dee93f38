"""Proofs that a body is empty: it parses strictly as a typing notice, a receipt, or an offer of media.

A body without proof is content. A grammar here holds no text that a person could have written: no comments,
no attributes but those that clients write, no namespaces of their own.

Sources: RFC 3994 (typing notices), RFC 5438 (receipts), RFC 3862 (CPIM), RFC 8866 (SDP, ``contract.sdp``).
"""

import re
import zlib
from collections.abc import Collection
from typing import Final

from contract.sdp import is_silent
from frontend.listeners.sip.mime import MIMEError, split_parts, type_of

CODINGS: Final = frozenset({"gzip", "x-gzip", "deflate", "identity"})
"""Content codings that we undo (RFC 9110, 8.4.1)."""
MAX_DECODED: Final = 262_144
"""Bytes of a compressed body once decoded, at most."""
MAX_PROVED: Final = 65_536
"""Bytes of a body that is examined, at most: more takes long, and no client needs so many for a notice."""
_MAX_NOTICE: Final = 4096
_MAX_DEPTH: Final = 4

_SPACE: Final = r"[ \t\r\n]{0,80}"
_DECLARATION: Final = (
    rf'(<\?xml version=["\']1\.0["\']( +encoding=["\'](utf-8|us-ascii|iso-8859-1)["\'])?'
    rf'( +standalone=["\'](yes|no)["\'])? *\?>{_SPACE})?'
)
_DATE_TIME: Final = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)?"
_MADE: Final = r"[\w.~+/=@:-]{1,80}"
"""Identifiers that machines make. They hold no sentence: a space ends them."""
_ADDRESS: Final = (
    r"(im|pres|sips?|tel):[\w.~+%-]{1,64}(@[a-z0-9.-]{1,128})?(:\d{1,5})?(;gr(=[\w:.-]{1,80})?)?"
)
_TYPES: Final = (
    r"(text|audio|video|image|message|application|multipart|text/(plain|html|rtf|xml)|message/cpim|"
    r"image/(png|gif|jpeg)|multipart/(mixed|alternative|related)|(text|audio|video|image)/\*)"
)


def _element(name: str, value: str) -> str:
    return rf"<{name}>{_SPACE}{value}{_SPACE}</{name}>{_SPACE}"


def _document(name: str, namespace: str, schema: str, *elements: str) -> "re.Pattern[str]":
    attributes = (
        rf'[ \t\r\n]{{1,80}}xmlns=["\']{namespace}["\']'
        r'([ \t\r\n]{1,80}xmlns:xsi=["\']http://www\.w3\.org/2001/XMLSchema-instance["\'])?'
        rf'([ \t\r\n]{{1,80}}xsi:schemaLocation=["\']{schema}["\'])?'
    )
    body = "".join(elements)
    pattern = rf"{_SPACE}{_DECLARATION}<{name}{attributes}{_SPACE}>{_SPACE}{body}</{name}>{_SPACE}"
    return re.compile(pattern, re.ASCII | re.IGNORECASE)


_TYPING: Final = _document(
    "isComposing",
    "urn:ietf:params:xml:ns:im-iscomposing",
    # RFC 3994, 5 writes im-composing in its example, and clients copy it.
    r"urn:ietf:params:xml:ns:im-(is)?composing[ \t\r\n]{1,80}iscomposing\.xsd",
    _element("state", "(active|idle)"),
    rf"({_element('lastactive', _DATE_TIME)})?",
    rf"({_element('contenttype', _TYPES)})?",
    rf"({_element('refresh', '[0-9]{1,9}')})?",
)


def _notification(name: str, statuses: str) -> str:
    empty = rf"<({statuses}) ?/>|<({statuses})></({statuses})>"
    return _element(name, _element("status", rf"({empty})"))


_RECEIPT: Final = _document(
    "imdn",
    "urn:ietf:params:xml:ns:imdn",
    r"urn:ietf:params:xml:ns:imdn[ \t\r\n]{1,80}imdn\.xsd",
    _element("message-id", _MADE),
    _element("datetime", _DATE_TIME),
    rf"({_element('recipient-uri', _ADDRESS)})?",
    rf"({_element('original-recipient-uri', _ADDRESS)})?",
    rf"({_notification('delivery-notification', 'delivered|failed|forbidden|error')}"
    rf"|{_notification('processing-notification', 'processed|stored|forbidden|error')}"
    rf"|{_notification('display-notification', 'displayed|forbidden|error')})",
)
_MSN_TYPING: Final = re.compile(
    r"(MIME-Version: 1\.0\r?\n)?(Content-Type: text/x-msmsgscontrol(; ?charset=utf-8)?\r?\n)?"
    rf"TypingUser: <?(({_ADDRESS})|[\w.~+-]{{1,64}}@[a-z0-9.-]{{1,128}})>?(\r?\n){{0,4}}",
    re.ASCII | re.IGNORECASE,
)
"""The typing notice of MSN's and Office Communicator's clients."""

_CONTENT_TYPE: Final = re.compile(
    r'[\w.+-]{1,64}/[\w.+-]{1,64}( ?; ?charset="?(utf-?8|us-ascii)"?)?'
    r"|multipart/(mixed|alternative|related|parallel) ?; ?"
    r"boundary=(\"[\w'()+,./:=?-]{1,70}\"|[\w'+./-]{1,70})",
    re.ASCII | re.IGNORECASE,
)
_DISPOSITION: Final = re.compile(
    r"(session|render|notification|icon|alert|by-reference|early-session)"
    r"( ?; ?handling=(optional|required))?",
    re.IGNORECASE,
)
_PART_FIELDS: Final = {
    "content-type": _CONTENT_TYPE,
    "content-disposition": _DISPOSITION,
    "content-length": re.compile("[0-9]{1,9}"),
    "content-transfer-encoding": re.compile("7bit|8bit|binary", re.IGNORECASE),
}
_CPIM_FIELDS: Final = re.compile(
    rf"(From|To|cc): ?<{_ADDRESS}>|DateTime: ?{_DATE_TIME}|NS: ?imdn ?<urn:ietf:params:imdn>|"
    rf"imdn\.Message-ID: ?{_MADE}|imdn\.Disposition-Notification: ?"
    r"(positive-delivery|negative-delivery|processing|display|, ?)+",
    re.ASCII | re.IGNORECASE,
)


class CodingError(ValueError):
    """A content coding that is unknown here, or a body that is too large once decoded; the text says
    which."""


def decode(body: bytes, coding: str) -> bytes | None:
    """Return a decoded body; None if it is not of its coding alone, and so proves nothing.

    Raises CodingError.
    """
    if coding in ("", "identity"):
        return body
    if coding not in CODINGS:
        raise CodingError(
            f"nobody here can read the content coding {coding[:40]!r}: send it as gzip or deflate"
        )
    if coding == "deflate":
        return _inflate(body, zlib.MAX_WBITS) or _inflate(body, -zlib.MAX_WBITS)
    # Flags of a head with a name or a comment in it (RFC 1952, 2.3.1).
    decoded = _inflate(body, zlib.MAX_WBITS | 16)
    return decoded if body[3:4] == b"\0" else None


def _inflate(body: bytes, bits: int) -> bytes | None:
    reader = zlib.decompressobj(bits)
    try:
        decoded = reader.decompress(body, MAX_DECODED)
    except zlib.error:
        return None
    if reader.unconsumed_tail:
        raise CodingError(f"decoded, the body has more than {MAX_DECODED} bytes")
    return decoded if reader.eof and not reader.unused_data else None


def is_empty(content_type: str, body: bytes, users: Collection[str] = (), depth: int = 0) -> bool:
    """Return True if a body is proved empty. ``users``: user parts of the parties, in lower case."""
    kind = type_of(content_type)
    if depth > _MAX_DEPTH or len(body) > MAX_PROVED or not _CONTENT_TYPE.fullmatch(content_type.strip()):
        return False
    if kind == "application/sdp":
        return is_silent(body, users)
    if kind.startswith("multipart/"):
        return _is_empty_multipart(content_type, body, users, depth)
    if kind == "message/cpim":
        return _is_empty_cpim(body, users, depth)
    if len(body) > _MAX_NOTICE:
        return False
    pattern = {
        "application/im-iscomposing+xml": _TYPING,
        "message/imdn+xml": _RECEIPT,
        "text/x-msmsgscontrol": _MSN_TYPING,
    }.get(kind)
    return pattern is not None and pattern.fullmatch(body.decode("latin-1")) is not None


def _is_empty_multipart(content_type: str, body: bytes, users: Collection[str], depth: int) -> bool:
    try:
        whole = split_parts(content_type, body)
    except MIMEError:
        return False
    if not whole.parts or (whole.preamble + whole.epilogue).strip(b"\r\n"):
        return False
    for part in whole.parts:
        if part.fields != len(part.headers) or not _are_known(part.headers):
            return False
        if not is_empty(part.headers.get("content-type", "text/plain"), part.content, users, depth + 1):
            return False
    return True


def _are_known(headers: dict[str, str]) -> bool:
    return all(
        name in _PART_FIELDS and _PART_FIELDS[name].fullmatch(value) is not None
        for name, value in headers.items()
    )


def _is_empty_cpim(body: bytes, users: Collection[str], depth: int) -> bool:
    """Return True if CPIM wraps nothing: its headers are addresses and times, and its content is empty."""
    outer, separator, rest = body.replace(b"\r\n", b"\n").partition(b"\n\n")
    head, second, _ = rest.partition(b"\n\n")
    if not separator or not second or b"\r" in outer + head:
        return False
    # The content itself is taken as it came.
    content = re.split(rb"\r?\n\r?\n", body, maxsplit=2)[2]
    if not all(_CPIM_FIELDS.fullmatch(line) for line in outer.decode("latin-1").split("\n")):
        return False
    lines = [line.partition(":") for line in head.decode("latin-1").split("\n")]
    headers = {name.strip().lower(): value.strip() for name, _, value in lines}
    if len(headers) != len(lines) or not _are_known(headers):
        return False
    return is_empty(headers.get("content-type", "text/plain"), content, users, depth + 1)
