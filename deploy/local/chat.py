"""Real chat as IMs: a log of IRC, one line a message, becomes bodies that a chat system would send."""

import base64
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contract.address import AddressError, parse_address

DOMAIN: Final = "contoso.com"
SAMPLE: Final = Path(__file__).parent / "sample-chat.txt"

FORMS: Final = """\
2004-12-25 [09:14] <nora> good morning
09:14 <@nora> good morning                  (irssi; without a time, too)
2004-12-25 09:14:33<TAB>nora<TAB>good morning    (WeeChat)
[09:14:33] <nora> good morning              (ZNC, mIRC)
Dec 25 09:14:33 <nora><TAB>good morning     (HexChat)
09:14  * nora waves                         (an action, in any of them)"""

_DATE: Final = (
    rb"(?:\d{4}[-/.]\d\d[-/.]\d\d|\d\d?[-/.]\d\d?[-/.]\d{2,4}|(?:[A-Z][a-z]{2},? )?[A-Z][a-z]{2} [ \d]?\d)"
)
_TIME: Final = rb"\d\d?:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?(?: ?[AaPp][Mm])?"
_STAMP: Final = rb"[\[(]?(?:%b|%b|%b[T ] ?[\[(]?%b)[\])]?" % (_DATE, _TIME, _DATE, _TIME)
_NICK: Final = rb"[ @+%&~!]*(?P<nick>[^\s<>@+%&~!][^\s>]*)"
_LINES: Final = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        rb"%b\t ?\*\t(?P<actor>\S+)(?: (?P<text>.*))?" % _STAMP,
        rb"%b\t%b\t(?P<text>.*)" % (_STAMP, _NICK),
        rb"(?:%b *)?<%b>(?:[ \t](?P<text>.*))?" % (_STAMP, _NICK),
        rb"%b *(?:\*[ \t]|Action: )(?P<actor>\S+)(?: (?P<text>.*))?" % _STAMP,
    )
)
_EVENT: Final = re.compile(
    rb"\S+ (\[?\(?\S+@\S+\)? )?has (joined|left|quit|kicked|changed the topic)\b.*|\S+ is now known as \S+"
    rb"|\S+ (sets|gives|removes) (mode|modes|ban|exempt|invite|channel|voice)\b.*|Now talking (on|in) .*"
    rb"|You(r| are| have)\b.*|Topic (for|on|is)\b.*|(Disconnected|Connecting|Looking up|Channel)\b.*"
)
"""Events of a channel in the form of actions: joins, modes, topics."""
_NOT_NICKS: Final = (b"--", b"-->", b"<--", b"=!=")
"""WeeChat's, in the column of nicks."""
_MARKED: Final = re.compile(
    rb"(?:%b[ \t]*)?(?:-!-|-{2,3}>?|<--|=!=|={3}|\*{3,4})(?:[ \t].*)?|Session (?:Start|Close|Ident|Time)\b.*"
    % _STAMP
)
"""A line that a client says itself: of joins and modes, or of its log."""
_NOTICE: Final = re.compile(rb"(?:%b[ \t]*)?-[^\s-]\S*-(?:[ \t].*)?" % _STAMP)
_UNKNOWN: Final = "in no known form"
_LONGEST: Final = 40_000
"""Bytes of a text: in JSON a control character is six, and front ends take 256 KiB of it."""
_NOT_IN_ADDRESS: Final = re.compile(r"[^a-z0-9_.-]")


class ChatError(ValueError):
    """Raised for a log without messages; the text names the forms that are read."""


@dataclass(frozen=True)
class Chat:
    """The IMs of a log, as bodies of ``POST /v1/messages``, and its lines that are none."""

    name: str
    ims: list[dict[str, object]]
    lines: int
    """Lines read."""
    cut: bool
    """Further IMs follow, after the last line read."""
    left_out: Counter[str]
    """Lines read that are no IM, by the reason."""
    unknown: str
    """The first line in no known form, with its number; "" if there is none."""

    def describe(self) -> list[str]:
        """Return the facts about lines that are not sent, one a line."""
        facts = []
        if self.left_out:
            reasons = [
                f"{number:,} {reason}" + (f", as {self.unknown}" if reason == _UNKNOWN else "")
                for reason, number in self.left_out.most_common()
            ]
            facts.append(f"{self.left_out.total():,} of {self.lines:,} lines: {'; '.join(reasons)}")
        if self.cut:
            facts.append(f"all after line {self.lines:,}: no more than {len(self.ims):,} IMs are sent")
        return facts


def parse_line(line: bytes) -> tuple[bytes, bytes] | None:
    """Return nick and text of a line of a log (``FORMS``); None: it is no message.

    An action's text is as an IM would show it: ``* nora waves``.
    """
    for form in _LINES:
        if match := form.fullmatch(line):
            said = match.groupdict()
            text = said["text"] or b""
            if nick := said.get("nick"):
                return None if nick in _NOT_NICKS else (nick, text)
            action = said["actor"] + b" " + text
            return None if _EVENT.fullmatch(action) else (said["actor"], b"* " + action)
    return None


def read_chat(path: Path, most: int) -> Chat:
    """Read a log up to ``most`` IMs.

    A text that begins with ``nick: `` goes to that nick, any other to the channel (the people who spoke
    last). Text that isn't UTF-8 is sent as base64, byte for byte. Raises ChatError if no line is an IM.
    """
    known: dict[str, str] = {}
    lately: list[str] = []
    ims: list[dict[str, object]] = []
    left_out: Counter[str] = Counter()
    unknown = ""
    lines, cut = 0, False
    for number, line in _read_lines(path):
        said = parse_line(line)
        if said is not None and len(ims) == most:
            cut = True
            break
        lines = number
        reason = _why_left_out(line) if said is None else _why_no_im(*said)
        if said is None or reason:
            left_out[reason] += 1
            if reason == _UNKNOWN and not unknown:
                unknown = f"line {number} ({line[:80].decode(errors='replace')!r})"
            continue
        nick, text = said[0].decode(errors="replace"), said[1]
        sender = known.setdefault(nick, _address_of(nick))
        addressee = known.get(text.split(b":", 1)[0].decode(errors="replace")) if b": " in text else None
        others = [address for address in lately if address != sender][-5:]
        recipients = [addressee] if addressee else others or [f"sip:channel@{DOMAIN}"]
        lately = [*(address for address in lately[-9:] if address != sender), sender]
        im: dict[str, object] = {"sender": sender, "recipients": recipients, **_body_of(text)}
        ims.append(im if addressee else im | {"conversation": "#ubuntu"})
    chat = Chat(path.name, ims, lines, cut, left_out, unknown)
    if not ims:
        found = "; ".join(chat.describe()) or "it is empty"
        known_forms = FORMS.replace("<TAB>", "\t")
        raise ChatError(
            f"{path} has no message: {found}. A message is written in one of these forms:\n{known_forms}"
        )
    return chat


def _why_left_out(line: bytes) -> str:
    """Return the reason that a line is no IM."""
    if not line.strip():
        return "blank"
    if _MARKED.fullmatch(line) or any(form.fullmatch(line) for form in _LINES):
        return "joins, modes, topics and the like"
    return "notices" if _NOTICE.fullmatch(line) else _UNKNOWN


def _why_no_im(nick: bytes, text: bytes) -> str:
    """Return the reason that a message is none that a front end takes, "" if it is one."""
    if len(text) > _LONGEST:
        return f"longer than {_LONGEST:,} bytes"
    try:
        parse_address(_address_of(nick.decode(errors="replace")))
    except AddressError:
        return "from a nick that can't be an address"
    return ""


def _read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield lines with their numbers, without their ends and the mark that some editors begin with."""
    with path.open("rb") as log:
        for number, line in enumerate(log, 1):
            text = line.removesuffix(b"\n").removesuffix(b"\r")
            yield number, text.removeprefix(b"\xef\xbb\xbf") if number == 1 else text


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
