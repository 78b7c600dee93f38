"""SIP requests as a pool's edge hands them on: who says what to whom, and whether it is content at all.

Sources: RFC 3261 (SIP), RFC 3428 (MESSAGE), RFC 5365 (several recipients), RFC 3994 (typing notices), and for
the text in an INVITE Microsoft's [MS-SIP], 2.2.11 (``Ms-Text-Format``).
"""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import quote, unquote
from xml.etree import ElementTree as ET

from contract.message import Encoding, split_cpim
from frontend.submission import MAX_CONVERSATION

_REQUEST_LINE: Final = re.compile(r"(?P<method>[A-Z]+) (?P<uri>\S+) SIP/2\.0")
_FOLD: Final = re.compile(rb"\r\n[ \t]+")
_IDENTITY: Final = ("7bit", "8bit", "binary")
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_NAME_ADDR: Final = re.compile(
    r'\s*(?:"(?:[^"\\]|\\.)*"\s*|[^"<]*)<(?P<uri>[^<>]*)>(?P<parameters>.*)', re.DOTALL
)
_PARAMETER: Final = re.compile(r';\s*(?P<name>[^\s;="]+)\s*(?:=\s*(?P<value>"(?:[^"\\]|\\.)*"|[^;]*))?')
_COMPACT: Final = {"c": "content-type", "f": "from", "i": "call-id", "l": "content-length", "t": "to"}
"""RFC 3261, 7.3.3."""
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
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
_USER_SAFE: Final = "-_.!~*'()&=+$,;?/"
_LIST_OPTION: Final = "recipient-list-message"
_LIST: Final = "recipient-list"
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
    if len(conversation) > MAX_CONVERSATION:
        raise SIPError("Call-ID is too long")
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
    # Kamailio ends a line at a line feed alone: one header to us would be several to it, or a body.
    if _CONTROL.search(head.replace(b"\r\n", b"")):
        raise SIPError("a control character in the head")
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
        if not _NUMBER.fullmatch(length) or int(length) > len(body):
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
    content_type, body = request.header("content-type") or "text/plain", request.body
    listed = _requires_list(request)
    recipients = [recipient]
    if listed:
        recipients, content_type, body = _read_listed(content_type, body)
    if _is_no_content(content_type, body):
        return None
    return Said(sender, recipients, session, content_type, *_encode(content_type, body), listed=listed)


def _requires_list(request: Request) -> bool:
    """Whether a request is for those listed in its body (RFC 5365, 4): not so in a session."""
    _, tag = _read_address(request, "to")
    options = ",".join(request.headers.get("require", ())).split(",")
    return not tag and _LIST_OPTION in (option.strip().lower() for option in options)


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
    return _unescape(uri.strip()), dict(_parameters_of(parameters)).get("tag", "")


def _unescape(uri: str) -> str:
    """Return a URI with its user as it is meant: ``sip:%62ob@b.example`` is bob (RFC 3261, 19.1.2)."""
    user, at, rest = uri.partition("@")
    try:
        return unquote(user, errors="strict") + at + rest if at else uri
    except UnicodeDecodeError:
        raise SIPError("an address whose escapes are not UTF-8") from None


def escape(address: str) -> str:
    """Return a canonical address as it may stand in a request (RFC 3261, 25.1)."""
    user, _, host = address.removeprefix("sip:").partition("@")
    return f"sip:{quote(user, safe=_USER_SAFE)}@{host}"


def _parameters_of(text: str) -> Iterator[tuple[str, str]]:
    for match in _PARAMETER.finditer(text):
        yield match["name"].lower(), (match["value"] or "").strip().strip('"')


def _way_of(request: Request) -> tuple[str, str | None]:
    """Return who is written to, and the key of the session.

    Outside a dialog that is the request's target; inside it, where the target is a device, the one at its
    other end.
    """
    to, tag = _read_address(request, "to")
    recipient = to if tag else _unescape(request.uri)
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
    if kind == "message/cpim" and (part := split_cpim(body)) is not None:
        kind = _type_of(part.content_type)
    return kind in _NO_CONTENT


def _read_listed(content_type: str, body: bytes) -> tuple[list[str], str, bytes]:
    """Return whom a body of two parts lists (RFC 5365), and the type and content of what is said to them."""
    recipients: list[str] = []
    said: list[tuple[str, bytes]] = []
    for headers, content in _split(content_type, body):
        kind = headers.get("content-type", "text/plain")
        if headers.get("content-transfer-encoding", "binary").lower() not in _IDENTITY:
            raise SIPError("a part that is encoded")
        if _type_of(kind) == _LIST_TYPE and _type_of(headers.get("content-disposition", "")) == _LIST:
            recipients += _read_list(content)
        else:
            said.append((kind, content))
    if not recipients or len(said) != 1:
        raise SIPError("not one list of recipients and one text for them, as Require says")
    return recipients, *said[0]


def _split(content_type: str, body: bytes) -> Iterator[tuple[dict[str, str], bytes]]:
    """Yield head and content of each part (RFC 2046, 5.1.1); what a part is made of is its own affair."""
    boundary = dict(_parameters_of(content_type[len(_type_of(content_type)) :])).get("boundary", "")
    if not _type_of(content_type).startswith("multipart/") or not boundary:
        raise SIPError("no body of several parts")
    _, *pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode())
    for piece in pieces:
        if piece.startswith(b"--"):
            return
        head, separator, content = piece.partition(b"\r\n\r\n")
        if not separator or not piece.startswith(b"\r\n"):
            raise SIPError("a part without a head")
        lines = (line.partition(":") for line in _FOLD.sub(b" ", head).decode(errors="replace").split("\r\n"))
        yield {name.strip().lower(): value.strip() for name, _, value in lines}, content
    raise SIPError("parts without an end")


def _read_list(content: bytes) -> list[str]:
    try:
        text = content.decode()
        if "<!" in text.replace("<!--", ""):
            raise SIPError("a list of recipients with a DTD")
        root = ET.fromstring(text)  # noqa: S314 - without a DTD there is nothing to expand
    except (ET.ParseError, UnicodeDecodeError) as error:
        raise SIPError(f"the list of recipients is not XML in UTF-8: {error}") from None
    return [_unescape(entry.get("uri", "")) for entry in root.iter(_ENTRY)]


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
