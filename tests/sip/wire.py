"""A SIP client that sends what it is told, byte for byte, and keeps what comes as it came."""

import hashlib
import queue
import re
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from uuid import uuid4

from tests.sip.edge import HOST, Edge

SDP: Final = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
    b"a=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n"
)
"""An offer of audio, and an answer to it."""
_SECONDS: Final = 10.0


class Message(NamedTuple):
    """A request or an answer."""

    raw: bytes

    @property
    def start(self) -> str:
        """The first line."""
        return self.raw.partition(b"\r\n")[0].decode(errors="replace")

    @property
    def head(self) -> str:
        """All before the body."""
        return self.raw.partition(b"\r\n\r\n")[0].decode(errors="replace")

    @property
    def body(self) -> bytes:
        """What follows the head."""
        return self.raw.partition(b"\r\n\r\n")[2]

    @property
    def method(self) -> str:
        """A request's method; of an answer ``SIP/2.0``."""
        return self.start.partition(" ")[0]

    @property
    def status(self) -> int:
        """An answer's status."""
        return int(self.start.split(" ")[1])

    def headers(self, name: str) -> list[str]:
        """Return a header's values."""
        return re.findall(rf"^{name}[ \t]*:[ \t]*(.*?)\r?$", self.head, re.IGNORECASE | re.MULTILINE)


@dataclass
class Dialog:
    """A dialog as one of its ends sees it (RFC 3261, 12)."""

    call: str
    own: str
    """This end's address with its tag, as it stands in From."""
    other: str
    target: str
    routes: list[str]
    sequence: int = 10
    early: list[Message] = field(default_factory=list)


class Wire:
    """Somebody's client at an edge, over UDP."""

    def __init__(self, edge: Edge, address: str, host: str = HOST) -> None:
        """``address``: user@domain; ``host``: from where it sends. It answers what comes with 200."""
        self.address, self._edge = address, edge
        self._user = address.partition("@")[0]
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 0))
        self._name = self._socket.getsockname()
        self.at = f"{host}:{self._name[1]}"
        self.received: list[Message] = []
        """All that came, but for answers 100 and 407."""
        self.answers: Callable[[Message], bytes | None] = self.agree
        self._came: queue.Queue[Message] = queue.Queue()
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hang up."""
        self.send(b"end", self._name)
        self._thread.join()
        self._socket.close()

    def send(self, raw: bytes, to: tuple[str, int] | None = None) -> None:
        """Send bytes, by default to the edge."""
        self._socket.sendto(raw, to or (HOST, self._edge.port))

    def _receive(self) -> None:
        while (raw := self._socket.recv(65_535)) != b"end":
            message = Message(raw)
            if message.method != "SIP/2.0":
                self.received.append(message)
                if message.method != "ACK" and (answer := self.answers(message)) is not None:
                    self.send(answer)
            elif message.status not in (100, 401, 407):
                self.received.append(message)
            self._came.put(message)

    def agree(
        self, request: Message, status: str = "200 OK", lines: Sequence[str] = (), body: bytes | None = None
    ) -> bytes:
        """Return an answer: with SDP to an INVITE or an UPDATE."""
        if body is None:
            body = SDP if request.method in ("INVITE", "UPDATE") and request.body else b""
        to = request.headers("To")[0]
        head = [
            f"SIP/2.0 {status}",
            *(f"Via: {value}" for value in request.headers("Via")),
            *(f"Record-Route: {value}" for value in request.headers("Record-Route")),
            f"From: {request.headers('From')[0]}",
            f"To: {to}" if ";tag=" in to else f"To: {to};tag={self._user}",
            f"Call-ID: {request.headers('Call-ID')[0]}",
            f"CSeq: {request.headers('CSeq')[0]}",
            f"Contact: <sip:{self._user}@{self.at}>",
            *lines,
        ]
        if body and not any(line.lower().startswith(("content-type", "c:")) for line in lines):
            head.append("Content-Type: application/sdp")
        return _join(head, body)

    def register(self) -> None:
        """Say where this client is."""
        domain = self._edge.domain
        contact = [f"Contact: <sip:{self._user}@{self.at}>", "Expires: 600"]
        assert self.ask("REGISTER", f"sip:{domain}", to=self.address, lines=contact).status == 200

    def ask(
        self,
        method: str,
        uri: str = "",
        *,
        to: str,
        lines: Sequence[str] = (),
        body: bytes = b"",
        **head: str,
    ) -> Message:
        """Send a request outside a dialog, again with a password if that is asked for; return the answer.

        ``lines``: further headers; ``head``: ``from_`` and ``to_``, lines in place of From and To.
        """
        if method == "INVITE":
            lines = [f"Contact: <sip:{self._user}@{self.at}>", *lines]
        return self._ask(method, uri or f"sip:{to}", self._begin(to, head), 1, lines, body)

    def tell(
        self, method: str, *, to: str, lines: Sequence[str] = (), body: bytes = b"", **head: str
    ) -> None:
        """Send a request, and wait for nothing."""
        self.send(self._request(method, f"sip:{to}", self._begin(to, head), 1, lines, body))

    def _begin(self, to: str, head: dict[str, str]) -> list[str]:
        own = head.get("from_", f"From: <sip:{self.address}>;tag={uuid4().hex}")
        return [own, head.get("to_", f"To: <sip:{to}>"), f"Call-ID: {uuid4().hex}"]

    def invite(self, to: str, lines: Sequence[str] = (), body: bytes = SDP) -> Dialog:
        """Begin a session with somebody who agrees; an offer of media, if nothing else is said."""
        if body == SDP:
            lines = [*lines, "Content-Type: application/sdp"]
        answer = self.ask("INVITE", to=to, lines=lines, body=body)
        assert answer.status == 200, answer.head
        dialog = Dialog(
            answer.headers("Call-ID")[0],
            answer.headers("From")[0],
            answer.headers("To")[0],
            _uri_of(answer.headers("Contact")[0]),
            answer.headers("Record-Route")[::-1],
        )
        self.acknowledge(dialog, int(answer.headers("CSeq")[0].split(" ")[0]))
        return dialog

    def acknowledge(self, dialog: Dialog, number: int, lines: Sequence[str] = (), body: bytes = b"") -> None:
        """Send an ACK."""
        self.send(self._request("ACK", dialog.target, self._lines_of(dialog), number, lines, body))

    def dialog_of(self, invite: Message) -> Dialog:
        """Return the dialog that an INVITE began which this client agreed to."""
        return Dialog(
            invite.headers("Call-ID")[0],
            f"{invite.headers('To')[0]};tag={self._user}",
            invite.headers("From")[0],
            _uri_of(invite.headers("Contact")[0]),
            invite.headers("Record-Route"),
        )

    def ask_in(self, dialog: Dialog, method: str, lines: Sequence[str] = (), body: bytes = b"") -> Message:
        """Send a request within a dialog; return the answer."""
        dialog.sequence += 2
        if method in ("INVITE", "UPDATE"):
            lines = [f"Contact: <sip:{self._user}@{self.at}>", *lines]
        fixed = self._lines_of(dialog)
        answer = self._ask(method, dialog.target, fixed, dialog.sequence, lines, body)
        if method == "INVITE" and answer.status == 200:
            self.acknowledge(dialog, int(answer.headers("CSeq")[0].split(" ")[0]))
        return answer

    def _lines_of(self, dialog: Dialog) -> list[str]:
        routes = [f"Route: {route}" for route in dialog.routes]
        return [*routes, f"From: {dialog.own}", f"To: {dialog.other}", f"Call-ID: {dialog.call}"]

    def _ask(
        self, method: str, uri: str, fixed: Sequence[str], number: int, lines: Sequence[str], body: bytes
    ) -> Message:
        answer = self._ask_once(method, uri, fixed, number, lines, body)
        if answer.status in (401, 407):
            lines = [*lines, self._authorization(method, uri, answer)]
            answer = self._ask_once(method, uri, fixed, number + 1, lines, body)
        return answer

    def _ask_once(
        self, method: str, uri: str, fixed: Sequence[str], number: int, lines: Sequence[str], body: bytes
    ) -> Message:
        branch = f"z9hG4bK{uuid4().hex}"
        self.send(self._request(method, uri, fixed, number, lines, body, branch))
        answer = self._await_answer(f"{number} {method}")
        if method == "INVITE" and answer.status >= 300:
            to = f"To: {answer.headers('To')[0]}"
            acknowledged = [to if line[:3].lower() in ("to:", "t: ") else line for line in fixed]
            self.send(self._request("ACK", uri, acknowledged, number, (), b"", branch))
        return answer

    def _request(
        self,
        method: str,
        uri: str,
        fixed: Sequence[str],
        number: int,
        lines: Sequence[str],
        body: bytes,
        branch: str = "",
    ) -> bytes:
        head = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {self.at};rport;branch={branch or f'z9hG4bK{uuid4().hex}'}",
            "Max-Forwards: 70",
            *fixed,
            f"CSeq: {number} {method}",
            *lines,
        ]
        return _join(head, body)

    def _await_answer(self, sequence: str) -> Message:
        while True:
            message = self._came.get(timeout=_SECONDS)
            if (
                message.method == "SIP/2.0"
                and message.headers("CSeq")[0] == sequence
                and message.status >= 200
            ):
                return message

    def _authorization(self, method: str, uri: str, challenge: Message) -> str:
        """Return what proves that we know the password (RFC 7616, with MD5 and no qop)."""
        name = "Proxy-Authorization" if challenge.status == 407 else "Authorization"
        realm, nonce = (re.findall(rf'{key}="(.*?)"', challenge.head)[0] for key in ("realm", "nonce"))
        ours = _md5(f"{self._user}:{realm}:{self._edge.password_of(self.address)}")
        response = _md5(f"{ours}:{nonce}:{_md5(f'{method}:{uri}')}")
        return (
            f'{name}: Digest username="{self._user}", realm="{realm}", nonce="{nonce}", uri="{uri}",'
            f' response="{response}"'
        )


def _uri_of(contact: str) -> str:
    return contact.partition("<")[2].partition(">")[0]


def _join(head: Sequence[str], body: bytes) -> bytes:
    return "\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()  # noqa: S324 - what SIP clients know
