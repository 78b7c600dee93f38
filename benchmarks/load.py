"""Load on a front end's HTTP port, with as little work on the client's side as HTTP allows."""

import asyncio
import json
import random
import time
from urllib.parse import urlsplit

_TEXT = (
    "the quick brown fox writes to the lazy dog about the migration that is on for tonight at ten, "
    "if the backup is green by then, and asks whether somebody has looked at the switch on the second "
    "floor, where logins were slow again this morning until it was restarted; see ticket 4711 and the "
    "change log for what was done and by whom, and please answer before noon, thank you and kind regards."
)
"""400 characters: the size of an IM in the user model of OCS 2007 R2."""


def make_submissions(count: int, *, seed: int = 1, users: int = 20_000) -> list[bytes]:
    """Return JSON bodies of ``POST /v1/messages``: people of a company, conversations of two."""
    rng = random.Random(seed)  # noqa: S311 - not a secret
    pairs = [
        (f"sip:user{rng.randrange(users)}@contoso.com", f"sip:user{rng.randrange(users)}@contoso.com")
        for _ in range(users)
    ]
    submissions = []
    for number in range(count):
        sender, recipient = rng.choice(pairs)
        document = {"sender": sender, "recipients": [recipient], "body": f"{number} {_TEXT}"[:400]}
        submissions.append(json.dumps(document).encode())
    return submissions


def _head(url: str, token: str, content_type: str, framing: str) -> bytes:
    return (
        f"POST /v1/messages HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: {content_type}\r\n{framing}\r\n\r\n"
    ).encode()


async def _open(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    return await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 20)


async def send_singles(url: str, token: str, ims: list[bytes], *, connections: int) -> tuple[float, int]:
    """Send each IM as a request of its own over kept-alive connections; return seconds and 201s."""
    waiting = iter(ims)
    accepted = 0

    async def one_connection() -> None:
        nonlocal accepted
        reader, writer = await _open(url)
        for im in waiting:
            writer.write(_head(url, token, "application/json", f"Content-Length: {len(im)}") + im)
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line[:15].lower() == b"content-length:"
            )
            await reader.readexactly(length)
            accepted += head[9:12] == b"201"
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(one_connection() for _ in range(connections)))
    return time.perf_counter() - started, accepted


async def send_stream(
    url: str, token: str, ims: list[bytes], *, rate: float | None = None
) -> tuple[float, int]:
    """Send the IMs as one NDJSON stream, at a rate (IM/s) or as fast as it goes; seconds and 201s."""
    reader, writer = await _open(url)
    writer.write(_head(url, token, "application/x-ndjson", "Transfer-Encoding: chunked"))
    started = time.perf_counter()

    async def send() -> None:
        size = 250 if rate is None else max(1, int(rate / 200))
        for first in range(0, len(ims), size):
            if rate is not None:
                await asyncio.sleep(max(0.0, started + first / rate - time.perf_counter()))
            chunk = b"\n".join(ims[first : first + size]) + b"\n"
            writer.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    sending = asyncio.create_task(send())
    accepted = 0
    await reader.readuntil(b"\r\n\r\n")
    while size := int(await reader.readuntil(b"\r\n"), 16):
        chunk = await reader.readexactly(size + 2)
        accepted += chunk.count(b'"archived":true')
    await sending
    writer.close()
    return time.perf_counter() - started, accepted
