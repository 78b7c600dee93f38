"""A SIP client as the demo needs one: over UDP it registers, writes, and is written to."""

import hashlib
import re
import socket
from typing import Final
from uuid import uuid4

_SECONDS: Final = 10.0
_CHALLENGE: Final = re.compile(
    r'(?:WWW|Proxy)-Authenticate: *Digest .*?realm="([^"]*)".*?nonce="([^"]*)"', re.I
)
_ECHOED: Final = ("via", "from", "to", "call-id", "cseq")
"""Headers that an answer repeats (RFC 3261, 8.2.6)."""


class Phone:
    """A person's SIP client, at an edge."""

    def __init__(self, edge: tuple[str, int], address: str, password: str) -> None:
        """``edge``: host and port; ``address``: user@domain. Nothing is sent yet."""
        self.address, self._password = address, password
        self._user, _, self._domain = address.partition("@")
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(_SECONDS)
        self._socket.connect(edge)
        self._at = "{}:{}".format(*self._socket.getsockname())
        self._read: list[str] = []

    def register(self) -> int:
        """Say where this client is; return the answer's status."""
        return self._ask(
            "REGISTER", f"sip:{self._domain}", self.address, f"Contact: <sip:{self._user}@{self._at}>"
        )

    def write(self, to: str, text: str) -> int:
        """Send a MESSAGE (RFC 3428); return the answer's status."""
        return self._ask("MESSAGE", f"sip:{to}", to, "Content-Type: text/plain;charset=UTF-8", text)

    def read(self) -> str:
        """Return the next text that came. Raises TimeoutError if none comes."""
        while not self._read:
            self._receive()
        return self._read.pop(0)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _ask(self, method: str, uri: str, to: str, header: str, body: str = "") -> int:
        """Send a request, and once more with the password when it is asked for (RFC 3261, 22)."""
        call, tag = uuid4().hex, uuid4().hex
        authorization = ""
        for number in (1, 2):
            self._send(
                f"{method} {uri} SIP/2.0",
                f"Via: SIP/2.0/UDP {self._at};rport;branch=z9hG4bK{uuid4().hex}",
                "Max-Forwards: 70",
                f"From: <sip:{self.address}>;tag={tag}",
                f"To: <sip:{to}>",
                f"Call-ID: {call}",
                f"CSeq: {number} {method}",
                header,
                *([authorization] if authorization else []),
                body=body,
            )
            status, head = 0, ""
            while status < 200 or f"CSeq: {number} {method}" not in head:
                status, head = self._receive()
            challenge = _CHALLENGE.search(head)
            if status not in (401, 407) or challenge is None:
                break
            name = "Authorization" if status == 401 else "Proxy-Authorization"
            authorization = f"{name}: {self._answer(method, uri, *challenge.groups())}"
        return status

    def _answer(self, method: str, uri: str, realm: str, nonce: str) -> str:
        """Return the digest that proves knowledge of the password (RFC 7616, with MD5 and no qop)."""
        ours, asked = _md5(f"{self._user}:{realm}:{self._password}"), _md5(f"{method}:{uri}")
        fields = {
            "username": self._user,
            "realm": realm,
            "nonce": nonce,
            "uri": uri,
            "response": _md5(f"{ours}:{nonce}:{asked}"),
        }
        return "Digest " + ", ".join(f'{name}="{value}"' for name, value in fields.items())

    def _receive(self) -> tuple[int, str]:
        """Take the next message; return an answer's status and head. A request is answered, and returns 0."""
        head, _, body = self._socket.recv(65_535).decode().partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        if first.startswith("SIP/2.0 "):
            return int(first.split()[1]), head
        if first.startswith("MESSAGE "):
            self._read.append(body)
        self._send("SIP/2.0 200 OK", *(line for line in lines if line.partition(":")[0].lower() in _ECHOED))
        return 0, head

    def _send(self, *lines: str, body: str = "") -> None:
        content = body.encode()
        head = "\r\n".join((*lines, f"Content-Length: {len(content)}", "", ""))
        self._socket.send(head.encode() + content)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()  # noqa: S324 - what SIP clients know
