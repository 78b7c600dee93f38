"""Real chat as IMs: an IRC log, one line a message, becomes what a chat system would send."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

DOMAIN: Final = "contoso.com"
SAMPLE: Final = Path(__file__).parent / "sample-chat.txt"

_LINE: Final = re.compile(
    rb"\d{4}-\d\d-\d\d (?:\[\d\d:\d\d\])? *"
    rb"(?:<(?P<nick>[^>]+)> ?(?P<text>.*)|\* (?P<actor>\S+) (?P<action>.*))"
)
_NOT_IN_ADDRESS: Final = re.compile(r"[^a-z0-9_.-]")


def read_chat(path: Path, most: int) -> Iterator[dict[str, object]]:
    """Yield the IMs of a log, at most ``most``: bodies of ``POST /v1/messages``.

    A line is ``YYYY-MM-DD [HH:MM] <nick> text`` or ``YYYY-MM-DD [HH:MM]  * nick does``; channel events
    (``===``) are no IMs. A text that begins with ``nick: `` goes to that nick, any other to the channel
    (the people who spoke last). Text that isn't UTF-8 is sent as base64, byte for byte.
    """
    known: dict[str, str] = {}
    lately: list[str] = []
    sent = 0
    with path.open("rb") as log:
        for line in log:
            match = _LINE.fullmatch(line.rstrip(b"\r\n"))
            if match is None:
                continue
            if sent == most:
                return
            nick = (match["nick"] or match["actor"]).decode(errors="replace")
            text = match["text"] if match["nick"] else b"* " + match["actor"] + b" " + match["action"]
            sender = known.setdefault(nick, _address_of(nick))
            addressee = known.get(text.split(b":", 1)[0].decode(errors="replace")) if b": " in text else None
            others = [address for address in lately if address != sender][-5:]
            recipients = [addressee] if addressee else others or [f"sip:channel@{DOMAIN}"]
            lately = [*(address for address in lately[-9:] if address != sender), sender]
            im: dict[str, object] = {"sender": sender, "recipients": recipients, **_body_of(text)}
            yield im if addressee else im | {"conversation": "#ubuntu"}
            sent += 1


def _address_of(nick: str) -> str:
    return f"sip:{_NOT_IN_ADDRESS.sub('_', nick.lower())}@{DOMAIN}"


def _body_of(text: bytes) -> dict[str, object]:
    try:
        body = text.decode()
    except UnicodeDecodeError:
        body = "\0"
    if "\0" not in body:
        return {"body": body}
    return {
        "body": base64.b64encode(text).decode(),
        "encoding": "base64",
        "content_type": "text/plain; charset=unknown-8bit",
    }
