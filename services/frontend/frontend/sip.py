"""SIP requests as a pool's edge hands them on: who says what to whom, and whether it is content at all.

Sources: RFC 3261 (SIP), RFC 3428 (MESSAGE), RFC 5365 (several recipients), RFC 3994 (typing notices), and for
the text in an INVITE Microsoft's [MS-SIP], 2.2.11 (``Ms-Text-Format``).
"""

import base64
import binascii
import re
from collections.abc import Iterator
from email import message_from_bytes
from typing import Final, NamedTuple
from xml.etree import ElementTree as ET

from contract.message import Encoding

_REQUEST_LINE: Final = re.compile(r"(?P<method>[A-Z]+) (?P<uri>\S+) SIP/2\.0")
_FOLD: Final = re.compile(rb"\r?\n[ \t]+")
_NAME_ADDR: Final = re.compile(
    r'\s*(?:"(?:[^"\\]|\\.)*"\s*|[^"<]*)<(?P<uri>[^<>]*)>(?P<parameters>.*)', re.DOTALL
)
_PARAMETER: Final = re.compile(r';\s*(?P<name>[^\s;="]+)\s*(?:=\s*(?P<value>"(?:[^"\\]|\\.)*"|[^;]*))?')
_COMPACT: Final = {"c": "content-type", "e": "content-encoding", "f": "from", "i": "call-id",
                   "l": "content-length", "t": "to"}  # fmt: skip
"""RFC 3261, 7.3.3."""
_SINGLE: Final = ("from", "to", "call-id", "content-type", "content-length")
_NO_CONTENT: Final = frozenset({
    "application/im-iscomposing+xml",  # typing notices: RFC 3994
    "application/sdp",  # audio and video are offered
    "message/imdn+xml",  # delivery notices: RFC 5438
    "application/ms-imdn+xml",
    "text/x-msmsgscontrol",  # typing notices of older clients
    "text/x-msmsgsinvite",  # offers of files
})  # fmt: skip
"""Types of bodies in which nobody says anything."""
_MAX_CLIENT: Final = 200
_LIST_TYPE: Final = "application/resource-lists+xml"
_ENTRY: Final = "{urn:ietf:params:xml:ns:resource-lists}entry"


class SIPError(ValueError):
    """A request that can't be understood; the text says why."""


class Request(NamedTuple):
    """A SIP request."""

    method: str
    uri: str
    headers: dict[str, list[str]]
    """By their long names in lower case."""
    body: bytes

    def header(self, name: str) -> str:
        """Return a header's (first) value, "" if there is none."""
        return self.headers.get(name, [""])[0]


class Said(NamedTuple):
    """What a request says, as it is archived."""

    sender: str
    recipients: list[str]
    conversation: str | None
    """The key of a session; None in pager mode, where people make the conversation."""
    content_type: str
    encoding: Encoding
    body: str
    content: bytes
    """The body's bytes as they came."""
    listed: bool = False
    """Whether the recipients are those of a list in the body: each is to be sent a copy without it."""


class Session(NamedTuple):
    """That a session begins, or ends."""

    conversation: str
    sender: str
    recipient: str
    client: str
    invited: bool
    ended: str


def find_session(request: Request, status: str) -> Session | None:
    """Return what a request says of a session, None if nothing. Raises SIPError.

    ``status``: that with which an INVITE was refused, "" if it was not.
    """
    if request.method not in ("INVITE", "BYE"):
        return None
    sender, _ = _read_address(request, "from")
    recipient, _ = _read_address(request, "to")
    _, conversation = _way_of(request)
    assert conversation is not None  # a BYE is within a dialog, or it is refused
    ended = "bye" if request.method == "BYE" else status
    return Session(conversation, sender, recipient, client_of(request), not ended, ended)


def client_of(request: Request) -> str:
    """Return what the sender talks with (RFC 3261, 20.41), "" if it does not say."""
    return request.header("user-agent")[:_MAX_CLIENT]


def parse_request(raw: bytes) -> Request:
    """Return a request. Raises SIPError."""
    head, separator, body = raw.lstrip(b"\r\n").partition(b"\r\n\r\n")
    if not separator:
        raise SIPError("the head has no end")
    try:
        first, *lines = _FOLD.sub(b" ", head).decode().split("\r\n")
    except UnicodeDecodeError:
        raise SIPError("the head is not UTF-8") from None
    match = _REQUEST_LINE.fullmatch(first)
    if match is None:
        raise SIPError("no request line")
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.strip().lower()
        if not colon or not name:
            raise SIPError(f"not a header: {line[:40]!r}")
        headers.setdefault(_COMPACT.get(name, name), []).append(value.strip())
    for name in _SINGLE:
        if len(headers.get(name, ())) > 1:
            raise SIPError(f"the header {name} stands twice")
    request = Request(match["method"], match["uri"], headers, body)
    length = request.header("content-length")
    if length:
        if not length.isascii() or not length.isdigit() or int(length) > len(body):
            raise SIPError("Content-Length is not the length of the body")
        request = request._replace(body=body[: int(length)])
    return request


def find_said(request: Request) -> Said | None:
    """Return what a request says, None if nothing. Raises SIPError."""
    sender, _ = _read_address(request, "from")
    if request.method == "INVITE":
        return _find_toast(request, sender)
    if request.method != "MESSAGE" or not request.body:
        return None
    recipient, session = _way_of(request)
    recipients, listed = [recipient], list[str]()
    content_type, body = request.header("content-type") or "text/plain", request.body
    if _type_of(content_type).startswith("multipart/"):
        listed, parts = _split(content_type, body)
        recipients = listed or recipients
        if listed and len(parts) != 1:
            raise SIPError("a list of recipients, and not one text for them")
        if listed:
            content_type, body = parts[0]
        if all(_is_no_content(*part) for part in parts):
            return None
    elif _is_no_content(content_type, body):
        return None
    return Said(sender, recipients, session, content_type, *_encode(content_type, body), listed=bool(listed))


def _read_address(request: Request, name: str) -> tuple[str, str]:
    """Return the URI in From or To, and its tag."""
    value = request.header(name)
    if not value:
        raise SIPError(f"no header {name}")
    match = _NAME_ADDR.fullmatch(value)
    if match is not None:
        uri, parameters = match["uri"], match["parameters"]
    elif "<" in value or '"' in value:
        raise SIPError(f"the header {name} is no address")
    else:  # RFC 3261, 20: what follows a URI without brackets are the header's parameters
        uri, semicolon, rest = value.partition(";")
        parameters = semicolon + rest
    return uri.strip(), dict(_parameters_of(parameters)).get("tag", "")


def _parameters_of(text: str) -> Iterator[tuple[str, str]]:
    for match in _PARAMETER.finditer(text):
        yield match["name"].lower(), (match["value"] or "").strip().strip('"')


def _way_of(request: Request) -> tuple[str, str | None]:
    """Return who is written to, and the key of the session.

    Outside a dialog that is the request's target; inside it, where the target is a device, the one at its
    other end.
    """
    to, tag = _read_address(request, "to")
    recipient = to if tag else request.uri
    if named := request.header("ms-conversation-id"):
        return recipient, f"sip:{named}"
    if tag or request.method in ("INVITE", "BYE"):
        return recipient, f"sip:{request.header('call-id')}"
    return recipient, None


def _find_toast(request: Request, sender: str) -> Said | None:
    """Return the first text of a session: clients of Office Communications Server send it in the INVITE."""
    for value in request.headers.get("ms-text-format", ()):
        content_type, semicolon, rest = value.partition(";")
        parameters = dict(_parameters_of(semicolon + rest))
        try:
            body = base64.b64decode(parameters.get("ms-body", ""), validate=True)
        except (binascii.Error, ValueError):
            raise SIPError("ms-body is not base64") from None
        if body:
            charset = parameters.get("charset", "")
            content_type = content_type.strip() + (f"; charset={charset}" if charset else "")
            recipient, session = _way_of(request)
            return Said(sender, [recipient], session, content_type, *_encode(content_type, body))
    return None


def _type_of(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _is_no_content(content_type: str, body: bytes) -> bool:
    kind = _type_of(content_type)
    if kind == "message/cpim":  # RFC 3862: two heads, of which the second tells the type
        inner = message_from_bytes(body.partition(b"\r\n\r\n")[2])
        kind = inner.get_content_type()
    return kind in _NO_CONTENT


def _split(content_type: str, body: bytes) -> tuple[list[str], list[tuple[str, bytes]]]:
    """Return the recipients that a body of several parts lists (RFC 5365), and its other parts."""
    try:
        head = f"Content-Type: {content_type}\r\n\r\n".encode("ascii")
    except UnicodeEncodeError:
        raise SIPError("Content-Type is not ASCII") from None
    whole = message_from_bytes(head + body)
    if not whole.is_multipart():
        raise SIPError("a body of several parts that has none")
    recipients: list[str] = []
    parts: list[tuple[str, bytes]] = []
    for part in whole.walk():
        if part.is_multipart():
            continue
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        if part.get_content_type() == _LIST_TYPE and part.get_content_disposition() == "recipient-list":
            recipients += _read_list(content)
        else:
            parts.append((str(part.get("Content-Type", "text/plain")), content))
    return recipients, parts


def _read_list(content: bytes) -> list[str]:
    if b"<!" in content.replace(b"<!--", b""):
        raise SIPError("a list of recipients with a DTD")
    try:
        root = ET.fromstring(content)  # noqa: S314 - without a DTD there is nothing to expand
    except (ET.ParseError, ValueError, LookupError) as error:
        raise SIPError(f"the list of recipients is not XML: {error}") from None
    found = [entry.get("uri", "") for entry in root.iter(_ENTRY)]
    if not found:
        raise SIPError("a list of recipients with nobody in it")
    return found


def _encode(content_type: str, body: bytes) -> tuple[Encoding, str, bytes]:
    """Return how a body is archived, as text if it says it is UTF-8 and is, else in base64; and its bytes."""
    kind = _type_of(content_type)
    charset = dict(_parameters_of(content_type[len(kind) :])).get("charset", "").lower()
    if kind.startswith("text/") and charset in ("", "utf-8", "utf8", "us-ascii"):
        try:
            text = body.decode()
        except UnicodeDecodeError:
            pass
        else:
            if "\0" not in text:
                return "text", text, body
    return "base64", base64.b64encode(body).decode(), body
