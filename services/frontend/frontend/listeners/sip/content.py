"""SIP requests as a pool's edge hands them on: the text in them, and the media that they offer past the
archive.

Whatever the method: a body is content unless ``emptiness`` proves that it is empty.

Sources: RFC 3261 (SIP), RFC 3428 (MESSAGE), RFC 5365 (several recipients), and for the text in an INVITE
Microsoft's [MS-SIP], 2.2.11 (``Ms-Text-Format``).
"""

import base64
import binascii
import re
from typing import Final, NamedTuple
from xml.etree import ElementTree as ET

from contract.message import Encoding
from contract.sdp import find_unseen
from frontend.listeners.sip.emptiness import MAX_PROVED, CodingError, decode, is_empty
from frontend.listeners.sip.mime import MIMEError, parameters_of, split_parts, type_of
from frontend.listeners.sip.request import Request, SIPError, read_address, users_of, way_of

_IDENTITY: Final = ("7bit", "8bit", "binary")
_NOTICES: Final = frozenset({"application/im-iscomposing+xml", "message/imdn+xml"})
"""Types of notices between clients: a body of such a type is empty, if it is one."""
_DESCRIBING: Final = ("INVITE", "UPDATE", "PRACK")
"""Methods of requests whose body a client may read as a session description (RFC 3264, 3311, 3262)."""
_DESCRIPTION: Final = "application/sdp"
_ENCODED_PART: Final = re.compile(
    rb"^content-(transfer-)?encoding[ \t]*:[ \t\r\n]*+(?!7bit|8bit|binary|identity)",
    re.IGNORECASE | re.MULTILINE,
)
_LIST_OPTION: Final = "recipient-list-message"
_LIST: Final = "recipient-list"
_LIST_TYPE: Final = "application/resource-lists+xml"
_MAX_LIST: Final = 65_536
"""Bytes of a list, at most."""
_ENTRY: Final = "{urn:ietf:params:xml:ns:resource-lists}entry"


class CodedError(SIPError):
    """A request with a body that can't be read here; the text says why."""


class Said(NamedTuple):
    """The text of a request, as it is archived."""

    sender: str
    recipients: list[str]
    conversation: str | None
    """The key of a session; None in pager mode, where the participants make the conversation."""
    content_type: str
    encoding: Encoding
    body: str
    content: bytes
    """The body's bytes as they came."""
    listed: bool = False
    """True if a list in the body names the recipients: the edge then sends each of them a copy without the
    list."""
    content_encoding: str = ""
    """``Content-Encoding`` of ``content``, in lower case; it is archived as it came."""
    toast: bool = False
    """True if it stands in ``Ms-Text-Format``."""


def find_said(request: Request) -> Said | None:
    """Return the text of a request, None if the request is proved empty. Raises SIPError."""
    sender, _ = read_address(request, "from")
    recipient, session = way_of(request)
    said = [*_find_toast(request, sender), *_find_subject(request, sender)]
    if request.body and (content := _find_content(request, sender, recipient, session)) is not None:
        said.append(content)
    if len(said) > 1:
        raise SIPError(
            "two texts in one request: of Ms-Text-Format, Subject and a body only one may say something"
        )
    return said[0] if said else None


def _find_content(request: Request, sender: str, recipient: str, session: str | None) -> Said | None:
    """Return the text in the body, None if the body is proved empty."""
    content_type, body = request.header("content-type") or "text/plain", request.body
    coding = request.header("content-encoding").lower()
    if coding == "identity":
        coding = ""
    listed = request.method == "MESSAGE" and _requires_list(request)
    recipients = [recipient]
    if listed:
        if coding:
            raise CodedError("a list of recipients that is compressed")
        recipients, content_type, body = _read_listed(content_type, body)
    decoded = _decode(body, coding)
    if decoded is not None and is_empty(content_type, decoded, users_of(request)):
        return None
    encoded = _encode(content_type, body) if not coding else _as_bytes(body)
    return Said(sender, recipients, session, content_type, *encoded, listed, coding)


def find_offers(request: Request) -> frozenset[str]:
    """Return the media that a request offers past the archive: kinds of ``contract.sdp``. Raises SIPError."""
    body = _decode(request.body, request.header("content-encoding").lower())
    if not body:
        return frozenset()  # or nobody can read it
    describes = request.method in _DESCRIBING
    if describes and _ENCODED_PART.search(body):
        raise CodedError("a session description may be in a part that is encoded")
    kind = type_of(request.header("content-type"))
    wrapped = not kind.startswith("text/") and _DESCRIPTION.encode() in body.lower()
    if not describes and kind != _DESCRIPTION and not wrapped:
        return frozenset()
    if len(body) > MAX_PROVED:
        raise SIPError(f"a session description of more than {MAX_PROVED} bytes: offer less at a time")
    return find_unseen(body)


def is_disguised(request: Request, said: Said) -> bool:
    """Return True if a text has the type of a typing notice or a receipt."""
    return request.method == "MESSAGE" and type_of(said.content_type) in _NOTICES


def _decode(body: bytes, coding: str) -> bytes | None:
    try:
        return decode(body, coding)
    except CodingError as error:
        raise CodedError(str(error)) from None


def _requires_list(request: Request) -> bool:
    """Return True if the recipients are those listed in the body (RFC 5365, 4); never in a session."""
    _, tag = read_address(request, "to")
    options = ",".join(request.headers.get("require", ())).split(",")
    return not tag and _LIST_OPTION in (option.strip().lower() for option in options)


def _find_toast(request: Request, sender: str) -> list[Said]:
    """Return the first text of a session: clients of Office Communications Server send it in the INVITE."""
    value = request.header("ms-text-format")
    if not value:
        return []
    parameters = parameters_of(value)
    try:
        body = base64.b64decode(parameters.get("ms-body", ""), validate=True)
    except (binascii.Error, ValueError):
        raise SIPError("ms-body is not base64") from None
    if not body:
        return []
    charset = parameters.get("charset", "")
    content_type = value.partition(";")[0].strip() + (f"; charset={charset}" if charset else "")
    recipient, session = way_of(request)
    return [Said(sender, [recipient], session, content_type, *_encode(content_type, body), toast=True)]


def _find_subject(request: Request, sender: str) -> list[Said]:
    """Return the text in Subject, which clients show. The edge removes it from the request that it relays."""
    text = request.header("subject")
    if not text:
        return []
    recipient, session = way_of(request)
    return [Said(sender, [recipient], session, "text/plain", *_encode("text/plain", text.encode()))]


def _read_listed(content_type: str, body: bytes) -> tuple[list[str], str, bytes]:
    """Return the recipients that a body of two parts lists (RFC 5365), and type and content of its other
    part."""
    recipients: list[str] = []
    said: list[tuple[str, bytes]] = []
    try:
        parts = split_parts(content_type, body).parts
    except MIMEError as error:
        raise SIPError(str(error)) from None
    for headers, _, content in parts:
        kind = headers.get("content-type", "text/plain")
        if headers.get("content-transfer-encoding", "binary").lower() not in _IDENTITY:
            raise SIPError("a part that is encoded")
        if type_of(kind) == _LIST_TYPE and type_of(headers.get("content-disposition", "")) == _LIST:
            recipients += _read_list(content)
        else:
            said.append((kind, content))
    if not recipients or len(said) != 1:
        raise SIPError("not one list of recipients and one text for them, as Require says")
    return recipients, *said[0]


def _read_list(content: bytes) -> list[str]:
    if len(content) > _MAX_LIST:
        raise SIPError(f"a list of recipients of more than {_MAX_LIST} bytes: send it to some at a time")
    try:
        text = content.decode()
        if "<!" in text.replace("<!--", ""):
            raise SIPError("a list of recipients with a DTD")
        root = ET.fromstring(text)  # noqa: S314 - without a DTD there is nothing to expand
    except (ET.ParseError, UnicodeDecodeError) as error:
        raise SIPError(f"the list of recipients is not XML in UTF-8: {error}") from None
    return [entry.get("uri", "") for entry in root.iter(_ENTRY)]


def _encode(content_type: str, body: bytes) -> tuple[Encoding, str, bytes]:
    """Return a body's encoding, text and bytes: as text if it says UTF-8 and is, else in base64."""
    charset = parameters_of(content_type).get("charset", "").lower()
    if type_of(content_type).startswith("text/") and charset in ("", "utf-8", "utf8", "us-ascii"):
        try:
            text = body.decode()
        except UnicodeDecodeError:
            pass
        else:
            if "\0" not in text and "\x1b" not in text:  # an escape may begin Japanese in seven bits
                return "text", text, body
    return _as_bytes(body)


def _as_bytes(body: bytes) -> tuple[Encoding, str, bytes]:
    return "base64", base64.b64encode(body).decode(), body
