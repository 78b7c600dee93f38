"""What the other side received, and is not proved empty, is in the archive: whatever somebody makes up.

The oracle knows nothing of grammars: what is said is a word that nobody else could write. It is looked for in
all that came: as it came, decompressed, and decoded.
"""

import base64
import contextlib
import gzip
import itertools
import os
import quopri
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, event, given, note, settings
from hypothesis import strategies as st

from tests.sip.office import Office
from tests.sip.scenarios import TYPING
from tests.sip.wire import SDP, Dialog, Message, Wire

pytestmark = pytest.mark.containers

_WORD = b"zqsellx"
"""Stands for the word of an example until that is sent."""
_SPOKEN = re.compile(rb"zq[0-9a-z]+x")
_EXAMPLES = os.environ.get("LCS_GENERATED_EXAMPLES")
"""How many to make up, others at each run; by default the same few."""
_numbers = itertools.count(100)
_RECEIPT = (
    b'<imdn xmlns="urn:ietf:params:xml:ns:imdn"><message-id>34jk324j</message-id>'
    b"<datetime>2008-04-04T12:16:49-05:00</datetime>"
    b"<delivery-notification><status><delivered/></status></delivery-notification></imdn>"
)
_WORD_64 = base64.b64encode(_WORD).decode()
_LABELS = [
    *("text/plain", "text/html", "application/im-iscomposing+xml", "message/imdn+xml", "application/sdp"),
    *("message/cpim", "multipart/mixed;boundary=b", "multipart/alternative; boundary=b", "audio/x"),
    "text/x-msmsgsinvite",
    *("text/x-msmsgscontrol", "application/ms-imdn+xml", "message/sipfrag", "application/octet-stream"),
    *("application/dtmf-relay", "application/media_control+xml", "text/plain;note=zqsellx", "image/zqsellx"),
]  # fmt: skip
_HEADERS = [
    *("Subject: zqsellx", "s: zqsellx", "Organization: zqsellx", "X-Note: zqsellx", "User-Agent: zqsellx"),
    *("Reason: SIP;text=zqsellx", "Call-Info: <http://zqsellx>", 'Warning: 399 x "zqsellx"', "Date: zqsellx"),
    *("Content-Disposition: attachment;filename=zqsellx", "Allow: INVITE, ZQSELLX", "k: timer, zqsellx"),
    *('Contact: "zqsellx" <sip:a@b>;zqsellx', "Refer-To: <sip:a@b?body=zqsellx>", "Alert-Info: <zqsellx>"),
    *("Content-Language: zqsellx", "Priority: zqsellx", "Require: zqsellx", "MIME-Version: 1.0 (zqsellx)"),
    *("X-Folded: a\r\n zqsellx", "Server: zqsellx", "Session-Expires: 90;zqsellx", "Retry-After: 5 (zqsellx"),
    "Expires: zqsellx",
    *("P-Asserted-Identity: zqsellx <sip:a@b>", "In-Reply-To: zqsellx", "X: a\nX-Y: zqsellx"),
    f"Ms-Text-Format: text/plain;msgr={_WORD_64};ms-body={_WORD_64}",
]  # fmt: skip
_IN_DIALOG = ["MESSAGE", "INFO", "UPDATE", "INVITE", "PRACK", "ACK", "NOTIFY", "OPTIONS", "REFER", "PUBLISH"]


class Said(NamedTuple):
    """A request that somebody makes up, and how it is answered."""

    method: str
    in_dialog: bool
    backwards: bool
    content_type: str
    body: bytes
    headers: list[str]
    phrase: str
    answer_headers: list[str]
    answer_body: bytes


def _insert(document: bytes, place: int) -> bytes:
    return document[: place % len(document)] + _WORD + document[place % len(document) :]


_documents = st.sampled_from([TYPING.encode(), _RECEIPT, SDP])
_leaves = st.one_of(
    st.just(_WORD),
    st.just(b""),
    _documents,
    st.builds(_insert, _documents, st.integers(0, 400)),
    st.sampled_from(
        [b"m=message 2855 TCP/MSRP *", b"i=zqsellx", b"a=note:zqsellx", b"m=text 1 RTP/AVP 98"]
    ).map(lambda line: SDP + line + b"\r\n"),
)


def _part(label: str, head: bytes, body: bytes) -> bytes:
    return b"Content-Type: " + label.encode() + head + b"\r\n\r\n" + body


def _mixed(parts: list[bytes], before: bytes, after: bytes) -> bytes:
    return before + b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n" + after


def _wrap(bodies: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    heads = st.sampled_from(
        [b"", b"\r\nSubject: zqsellx", b"\r\nContent-Transfer-Encoding: base64", b"\r\nContent-ID: <zqsellx>"]
    )
    parts = st.builds(_part, st.sampled_from(_LABELS), heads, bodies)
    around = st.sampled_from([b"", b"zqsellx\r\n"])
    outer = st.sampled_from([b"From: <im:a@a>", b"From: zqsellx <im:a@a>", b"Subject: zqsellx"])
    return st.one_of(
        st.builds(_mixed, st.lists(parts, min_size=1, max_size=3), around, around),
        st.builds(lambda head, part: head + b"\r\n\r\n" + part, outer, parts),
        bodies.map(base64.b64encode),
        bodies.map(gzip.compress),
        bodies.map(zlib.compress),
    )


_said = st.builds(
    Said,
    method=st.sampled_from(["MESSAGE", "MESSAGE", *_IN_DIALOG]),
    in_dialog=st.booleans(),
    backwards=st.booleans(),
    content_type=st.sampled_from(_LABELS),
    body=st.recursive(_leaves, _wrap, max_leaves=4),
    headers=st.lists(
        st.sampled_from(
            [*_HEADERS, "Content-Encoding: gzip", "e: deflate", "Content-Transfer-Encoding: base64"]
        ),
        max_size=3,
        unique_by=lambda line: line.partition(":")[0].lower(),
    ),
    phrase=st.sampled_from(["200 OK", "200 zqsellx", "299 zqsellx", "486 zqsellx", "603 Decline"]),
    answer_headers=st.lists(st.sampled_from(_HEADERS), max_size=2, unique=True),
    answer_body=_leaves,
)


def _readings(raw: bytes) -> Iterator[bytes]:
    """Yield what bytes may be read as."""
    yield raw
    yield from _inflated(raw.partition(b"\r\n\r\n")[2])
    yield quopri.decodestring(raw)
    for piece in re.findall(rb"[A-Za-z0-9+/]{8,}={0,2}", raw):
        decoded = base64.b64decode(piece[: len(piece) // 4 * 4])
        yield decoded
        yield from _inflated(decoded)


def _inflated(packed: bytes) -> Iterator[bytes]:
    for bits in (zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS):
        with contextlib.suppress(zlib.error):
            yield zlib.decompressobj(bits).decompress(packed)


def _spoken_in(raws: Iterable[bytes]) -> set[bytes]:
    found: set[bytes] = set()
    for raw in raws:
        for reading in _readings(raw):
            found.update(_SPOKEN.findall(reading.lower()))
    return found


class Talk:
    """Two clients, and a session between them that is begun anew when it is over."""

    def __init__(self, yannis: Wire, ada: Wire) -> None:
        self.yannis, self.ada = yannis, ada
        self._ends: tuple[Dialog, Dialog] | None = None
        self._seen = {yannis: 0, ada: 0}

    def ends(self) -> tuple[Dialog, Dialog]:
        """Return the session as each of them sees it."""
        if self._ends is None:
            self.ada.answers = self.ada.agree
            own = self.yannis.invite(self.ada.address)
            invite = [each for each in self.ada.received if each.method == "INVITE"][-1]
            self._ends = own, self.ada.dialog_of(invite)
        return self._ends

    def say(self, said: Said, word: bytes) -> None:
        """Send what somebody makes up, with a word of its own."""

        def own(text: str) -> str:
            return text.replace(_WORD.decode(), word.decode()).replace("ZQSELLX", word.decode().upper())

        body, answer_body = said.body.replace(_WORD, word), said.answer_body.replace(_WORD, word)
        toast = _WORD_64, base64.b64encode(word).decode()
        lines = [own(line).replace(*toast) for line in said.headers]
        lines.append(f"Content-Type: {own(said.content_type)}")
        back = [own(line) for line in said.answer_headers if not line.startswith("Ms-")]
        dialogs = self.ends() if said.in_dialog else None
        speaker, hearer = (self.ada, self.yannis) if said.backwards else (self.yannis, self.ada)
        hearer.answers = lambda request: hearer.agree(request, own(said.phrase), back, answer_body)
        try:
            if dialogs is None:
                if said.method != "ACK":
                    speaker.ask(said.method, to=hearer.address, lines=lines, body=body)
            elif said.method == "ACK":
                speaker.acknowledge(dialogs[said.backwards], 99, lines, body)
            else:
                speaker.ask_in(dialogs[said.backwards], said.method, lines, body)
        finally:
            hearer.answers = hearer.agree

    def heard(self) -> list[Message]:
        """Return what came to either since this was asked last."""
        news: list[Message] = []
        for client, seen in self._seen.items():
            news += client.received[seen:]
            self._seen[client] = len(client.received)
        return news


@pytest.fixture
def talk(pair: tuple[Wire, Wire]) -> Talk:
    """A talk between yannis and ada."""
    return Talk(*pair)


@settings(
    max_examples=int(_EXAMPLES or 200),
    deadline=None,
    derandomize=not _EXAMPLES,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(said=_said)
def test_what_was_received_and_holds_a_word_is_in_the_archive(office: Office, talk: Talk, said: Said) -> None:
    word = b"zq%dx" % next(_numbers)
    talk.say(said, word)
    heard = talk.heard()
    spoken = _spoken_in(message.raw for message in heard)
    event(
        "a word was heard" if spoken else "a message without it was heard" if heard else "nothing was heard"
    )
    if not spoken:
        return
    for message in heard:
        note(message.raw.decode(errors="backslashreplace"))
    archived = office.contents()
    bodies = [content for _, content in archived]
    assert spoken <= _spoken_in(f"{kind}\r\n\r\n".encode() + content for kind, content in archived)
    for message in heard:
        if _spoken_in([b"\r\n\r\n" + message.body]):
            assert message.body in bodies
