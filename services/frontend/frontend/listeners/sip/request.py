"""A SIP request as a pool's edge hands it on: its head, its sender and recipient, and its session.

Source: RFC 3261.
"""

import re
from typing import Final, NamedTuple
from urllib.parse import unquote

from frontend.im import MAX_CONVERSATION
from frontend.listeners.sip.mime import FOLD, parameters_of

_REQUEST_LINE: Final = re.compile(r"(?P<method>[A-Z]+) (?P<uri>\S+) SIP/2\.0")
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_NAME_ADDR: Final = re.compile(
    r'\s*(?:"(?:[^"\\]|\\.)*"\s*|[^"<]*)<(?P<uri>[^<>]*)>(?P<parameters>.*)', re.DOTALL
)
_COMPACT: Final = {
    **{"a": "accept-contact", "b": "referred-by", "c": "content-type", "d": "request-disposition"},
    **{"e": "content-encoding", "f": "from", "i": "call-id", "j": "reject-contact", "k": "supported"},
    **{"l": "content-length", "m": "contact", "o": "event", "r": "refer-to", "s": "subject", "t": "to"},
    **{"u": "allow-events", "v": "via", "x": "session-expires", "y": "identity"},
}
"""IANA, "Session Initiation Protocol (SIP) Parameters", Header Fields."""
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_NAME: Final = re.compile(r"[\w!%*+`'~.-]+", re.ASCII)
_SINGLE: Final = (
    *("from", "to", "call-id", "content-type", "content-length", "content-encoding", "content-disposition"),
    *("subject", "ms-text-format", "ms-conversation-id"),
)
_TEXTS: Final = ("subject", "ms-text-format")
"""Headers among these in which a person may write."""
_MAX_VALUE: Final = 4096
"""Characters of each other header, at most: they are read several times."""
_MAX_LINES: Final = 500
"""Lines of a head, at most."""
_MAX_CLIENT: Final = 200


class SIPError(ValueError):
    """A request that can't be understood; the text says why."""


class Request(NamedTuple):
    """A SIP request."""

    method: str
    uri: str
    headers: dict[str, list[str]]
    """Headers by their long names in lower case."""
    body: bytes

    def header(self, name: str) -> str:
        """Return a header's (first) value, "" if there is none."""
        return self.headers.get(name, [""])[0]


class Session(NamedTuple):
    """The begin or the end of a session."""

    conversation: str
    sender: str
    recipient: str
    client: str
    invited: bool
    ended: str


def find_session(request: Request, status: str) -> Session | None:
    """Return the session that a request begins or ends, None if it does neither. Raises SIPError.

    ``status``: the answer that refused an INVITE, "" if it was not refused.
    """
    if request.method not in ("INVITE", "BYE"):
        return None
    sender, _ = read_address(request, "from")
    recipient, tag = read_address(request, "to")
    if tag and request.method == "INVITE":
        return None  # the session is begun
    _, conversation = way_of(request)
    assert conversation is not None  # a BYE is within a dialog, or it is refused
    if len(conversation) > MAX_CONVERSATION:
        raise SIPError("Call-ID is too long")
    ended = "bye" if request.method == "BYE" else status
    return Session(conversation, sender, recipient, client_of(request), not ended, ended)


def session_of(request: Request, refused: str = "") -> Session:
    """Return the session of a request, which may be the only one in it. Raises SIPError.

    ``refused``: the status that is the answer to an INVITE that would have begun it.
    """
    sender, _ = read_address(request, "from")
    recipient, conversation = way_of(request)
    conversation = conversation or f"sip:{request.header('call-id')}"
    begins = request.method == "INVITE" and not read_address(request, "to")[1]
    ended = refused if begins else ""
    return Session(conversation, sender, recipient, client_of(request), begins, ended)


def client_of(request: Request) -> str:
    """Return the sender's program (RFC 3261, 20.41), "" if it is not named."""
    return request.header("user-agent")[:_MAX_CLIENT]


def parse_request(raw: bytes) -> Request:
    """Return a request. Raises SIPError."""
    head, separator, body = raw.lstrip(b"\r\n").partition(b"\r\n\r\n")
    if not separator:
        raise SIPError("the head has no end")
    if head.count(b"\r\n") >= _MAX_LINES:
        raise SIPError(f"the head has more than {_MAX_LINES} lines")
    try:
        first, *lines = FOLD.sub(b" ", head).decode().split("\r\n")
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
        if not colon or not _NAME.fullmatch(name):
            raise SIPError(f"not a header: {line[:40]!r}")
        headers.setdefault(_COMPACT.get(name, name), []).append(value.strip())
    for name in _SINGLE:
        if len(headers.get(name, ())) > 1:
            raise SIPError(f"the header {name} stands twice")
        if name not in _TEXTS and len(headers.get(name, [""])[0]) > _MAX_VALUE:
            raise SIPError(f"the header {name} has more than {_MAX_VALUE} characters")
    request = Request(match["method"], match["uri"], headers, body)
    length = request.header("content-length")
    if length:
        if not _NUMBER.fullmatch(length) or int(length) > len(body):
            raise SIPError("Content-Length is not the length of the body")
        request = request._replace(body=body[: int(length)])
    return request


def read_address(request: Request, name: str) -> tuple[str, str]:
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
    return uri.strip(), parameters_of(parameters).get("tag", "")


def way_of(request: Request) -> tuple[str, str | None]:
    """Return the recipient, and the key of the session.

    Outside a dialog the recipient is the request's target. Inside it the target is a device, and the
    recipient the one at the dialog's other end.
    """
    to, tag = read_address(request, "to")
    recipient = to if tag else request.uri
    if named := request.header("ms-conversation-id"):
        return recipient, f"sip:{named}"
    if tag or request.method in ("INVITE", "BYE"):
        return recipient, f"sip:{request.header('call-id')}"
    return recipient, None


def users_of(request: Request) -> set[str]:
    """Return the user parts of From and To, in lower case. Raises SIPError."""
    addresses = (read_address(request, "from")[0], read_address(request, "to")[0])
    return {unquote(address.partition("@")[0]).rpartition(":")[2].lower() for address in addresses}
