"""Load on an XMPP server: logged-in users write to each other as fast as the server takes it."""

import asyncio
import base64
import contextlib
import json
import re
import time

from benchmarks.load import make_submissions

DOMAIN = "contoso.com"
_USERS = 40
_AT_ONCE = 20
"""Messages handed to a socket at once: fewer system calls, and still little beside a socket's buffer."""
_STREAM = (
    f"<?xml version='1.0'?><stream:stream to='{DOMAIN}' version='1.0' xmlns='jabber:client'"
    " xmlns:stream='http://etherx.jabber.org/streams'>"
)


def make_accounts(password: str) -> dict[str, str]:
    """Return names and passwords of the users."""
    return {f"user{number}": password for number in range(_USERS)}


class _User:
    """One user's connection (RFC 6120), without TLS: the other peers have none either."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._read_all: asyncio.Task[None] | None = None

    async def log_in(self, name: str, password: str) -> None:
        """Open the stream, authenticate, bind a resource and become available."""
        token = base64.b64encode(f"\0{name}\0{password}".encode()).decode()
        await self._ask(_STREAM, rb"</stream:features>")
        await self._ask(
            f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{token}</auth>",
            rb"<success[^>]*>",
        )
        await self._ask(_STREAM, rb"</stream:features>")
        await self._ask(
            "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
            "<resource>load</resource></bind></iq>",
            rb"<iq[^>]*type=.result.*</iq>",
        )
        # A server sends a user's presence to the user too: from then on messages are delivered at once.
        await self._ask("<presence/>", rb"<presence[^>]*>")
        self._read_all = asyncio.create_task(self._receive())

    async def _ask(self, request: str, expected: bytes) -> None:
        self._writer.write(request.encode())
        answer = b""
        while not re.search(expected, answer, re.DOTALL):
            async with asyncio.timeout(30):
                part = await self._reader.read(65_536)
            answer += part
            if not part or b"<failure" in answer or b"<stream:error" in answer:
                raise ConnectionError(f"the server answered {answer.decode(errors='replace')}")

    async def _receive(self) -> None:
        """Take delivered stanzas, as a client must, and drop them: looking at them would cost time."""
        while await self._reader.read(1 << 18):
            pass

    async def send(self, stanzas: list[bytes]) -> None:
        """Send messages as fast as the server reads them."""
        for first in range(0, len(stanzas), _AT_ONCE):
            self._writer.write(b"".join(stanzas[first : first + _AT_ONCE]))
            await self._writer.drain()
            if self._read_all is None or self._read_all.done():
                raise ConnectionError("the server closed a user's connection")

    async def close(self) -> None:
        if self._read_all is not None:
            self._read_all.cancel()
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


class Crowd:
    """Users in pairs that write to each other."""

    def __init__(self, port: int, accounts: dict[str, str], count: int) -> None:
        """Prepare ``count`` messages, with the bodies that LCS Archive gets; each has a number of its own."""
        self._port = port
        self._accounts = accounts
        self._users: list[_User] = []
        names = list(accounts)
        self._stanzas: list[list[bytes]] = [[] for _ in names]
        for number, submission in enumerate(make_submissions(count)):
            body = json.loads(submission)["body"]
            sender = number % len(names)
            self._stanzas[sender].append(
                f"<message type='chat' id='m{number}' to='{names[sender ^ 1]}@{DOMAIN}'>"
                f"<body>{body}</body></message>".encode()
            )

    async def log_in(self) -> None:
        """Log every user in. Raises ConnectionError if the server refuses one."""
        for name, password in self._accounts.items():
            user = _User(*await asyncio.open_connection("127.0.0.1", self._port))
            self._users.append(user)
            await user.log_in(name, password)

    async def send(self) -> float:
        """Send all messages; return the time of the first (seconds since 1970)."""
        started = time.time()
        await asyncio.gather(
            *(user.send(stanzas) for user, stanzas in zip(self._users, self._stanzas, strict=True))
        )
        return started

    async def log_out(self) -> None:
        """Close every connection."""
        for user in self._users:
            await user.close()
