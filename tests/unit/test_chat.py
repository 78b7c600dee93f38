"""IRC logs as IMs: what the demo sends."""

import base64
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.address import parse_address
from deploy.local.chat import SAMPLE, ChatError, parse_line, read_chat
from frontend.listeners.submission import read_submission
from tests.unit.agent_port import SETTINGS

LOG = b"""\
2004-12-25 [09:14] <crimsun> hello all
2004-12-25 [09:14] <kleedrac> crimsun: Hmmm ... I wonder why it does that?
2004-12-25 === will is now known as will_
2004-12-25  * crimsun waves
2004-12-25 <|QuaD-> caf\xe9
no line of a log
2004-12-25 [09:16] <crimsun>
2004-12-25 [09:17] <crimsun> http://x.org: a colon after no nick
"""


def test_a_log_becomes_ims_and_events_do_not(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(LOG)
    ims = read_chat(tmp_path / "log", 100).ims
    senders = [str(im["sender"]).removesuffix("@contoso.com") for im in ims]
    assert senders == [
        "sip:crimsun",
        "sip:kleedrac",
        "sip:crimsun",
        "sip:_quad-",
        "sip:crimsun",
        "sip:crimsun",
    ]
    assert ims[1]["recipients"] == ["sip:crimsun@contoso.com"]
    assert "conversation" not in ims[1]
    assert ims[2]["body"] == "* crimsun waves"
    assert ims[3]["encoding"] == "base64"
    assert base64.b64decode(str(ims[3]["body"])) == b"caf\xe9"
    assert ims[4]["body"] == ""
    assert ims[5]["conversation"] == "#ubuntu"


def test_no_more_is_read_than_asked_for(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(LOG)
    assert len(read_chat(tmp_path / "log", 2).ims) == 2


def test_the_sample_has_everything_that_can_go_wrong() -> None:
    ims = read_chat(SAMPLE, 2000).ims
    assert len(ims) > 20
    assert any("encoding" in im for im in ims)
    assert any(not str(im["body"]).isascii() for im in ims)
    for im in ims:
        recipients = im["recipients"]
        assert isinstance(recipients, list)
        assert parse_address(str(im["sender"])) not in recipients


_NICKS = st.from_regex(rb"[A-Za-z\[\]\\`_^{|}\xe9][A-Za-z0-9\[\]\\`_^{|}-]{0,15}", fullmatch=True)
_TEXTS = st.binary(max_size=60).filter(lambda text: b"\n" not in text and not text.endswith(b"\r"))
_MODES = st.sampled_from([b"", b" ", b"@", b"+", b"%", b"&", b"~"])
_SAID = {
    "the corpus": b"2004-12-25 [09:14] <%b%b> %b",
    "the corpus, without a time": b"2004-12-25 <%b%b> %b",
    "irssi": b"09:14 <%b%b> %b",
    "irssi, with seconds": b"09:14:33 <%b%b> %b",
    "irssi, with a date": b"2004-12-25 09:14:33 <%b%b> %b",
    "irssi, in brackets": b"[09:14] <%b%b> %b",
    "without a time": b"<%b%b> %b",
    "weechat": b"2004-12-25 09:14:33\t%b%b\t%b",
    "weechat 4.3": b"2004-12-25 09:14:33.123456Z\t%b%b\t%b",
    "znc": b"[09:14:33] <%b%b> %b",
    "hexchat": b"Dec 25 09:14:33 <%b%b>\t%b",
    "hexchat, early in a month": b"Dec  5 09:14:33 <%b%b>\t%b",
    "mirc": b"[25.12.2004 09:14:33] <%b%b> %b",
    "a bot": b"2004-12-25T09:14:33+0000 <%b%b> %b",
    "american": b"9:14 PM <%b%b> %b",
}
_DONE = {
    "the corpus": b"2004-12-25 [09:14]  * %b %b",
    "irssi": b"09:14  * %b %b",
    "irssi, with seconds": b"09:14:33 * %b %b",
    "weechat": b"2004-12-25 09:14:33\t *\t%b %b",
    "znc": b"[09:14:33] * %b %b",
    "hexchat": b"Dec 25 09:14:33 *\t%b %b",
    "eggdrop": b"[09:14] Action: %b %b",
}
_EVENTS = rb"""--- Log opened Sat Dec 25 09:14:00 2004
--- Day changed Sun Dec 26 2004
09:14 -!- nora [nora@example.org] has joined #ubuntu
09:14 -!- mode/#ubuntu [+o nora] by ChanServ
2004-12-25 === will is now known as will_
2004-12-25 09:14:33	-->	nora (nora@example.org) has joined #ubuntu
2004-12-25 09:14:33	<--	nora (nora@example.org) has quit (Quit)
2004-12-25 09:14:33	--	Topic for #ubuntu is "Be kind"
[09:14:33] *** Joins: nora (nora@example.org)
[09:14:33] *** Quits: nora (nora@example.org) (Quit)
**** BEGIN LOGGING AT Sat Dec 25 09:14:00 2004
Dec 25 09:14:33 *	Now talking on #ubuntu
Dec 25 09:14:33 *	nora (~nora@example.org) has joined
Dec 25 09:14:33 *	nora has quit (Ping timeout)
Dec 25 09:14:33 *	nora is now known as nora_
Dec 25 09:14:33 *	ChanServ gives channel operator status to nora
[09:14] * nora (nora@example.org) has left #ubuntu
Session Start: Sat Dec 25 09:14:00 2004
* a list in a text
""".splitlines()


@pytest.mark.parametrize("form", _SAID)
@settings(deadline=None, max_examples=30)
@given(_MODES, _NICKS, _TEXTS)
def test_who_says_what_is_read_in_every_form(form: str, mode: bytes, nick: bytes, text: bytes) -> None:
    assert parse_line(_SAID[form] % (mode, nick, text)) == (nick, text)


@pytest.mark.parametrize("form", _DONE)
@settings(deadline=None, max_examples=30)
@given(_NICKS, st.from_regex(rb"(waves|hugs ada|goes \xe0 la mer)[^\n\r]{0,20}", fullmatch=True))
def test_who_does_what_is_read_in_every_form(form: str, nick: bytes, action: bytes) -> None:
    assert parse_line(_DONE[form] % (nick, action)) == (nick, b"* " + nick + b" " + action)


@pytest.mark.parametrize("event", _EVENTS)
def test_nobody_says_an_event(event: bytes) -> None:
    assert parse_line(event) is None


def test_a_log_of_windows_with_a_mark_at_its_start_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"\xef\xbb\xbf09:14 <nora> one\r\n09:15 <nora> two\r\n")
    assert [im["body"] for im in read_chat(tmp_path / "log", 100).ims] == ["one", "two"]


@pytest.mark.parametrize(
    ("log", "found"),
    [
        (b"", "it is empty"),
        (b"\n\n--- Log opened Sat Dec 25\n", "1 joins, modes, topics and the like"),
        (b"Nora said good morning\n", "line 1 ('Nora said good morning')"),
    ],
)
def test_a_log_without_a_message_says_what_was_expected(tmp_path: Path, log: bytes, found: str) -> None:
    (tmp_path / "log").write_bytes(log)
    with pytest.raises(ChatError, match="<nora> good morning") as raised:
        read_chat(tmp_path / "log", 100)
    assert found in str(raised.value)


def test_what_of_a_log_is_not_sent_is_said_with_the_reason(tmp_path: Path) -> None:
    others = [b"", b"nora (09:15): two", b"-NickServ- hello", b"09:14:33 -nora:#ubuntu- be kind"]
    log = [b"09:14 <nora> one", *_EVENTS[:-1], *others]
    (tmp_path / "log").write_bytes(b"\n".join(log))
    events = len(_EVENTS) - 1
    assert read_chat(tmp_path / "log", 100).describe() == [
        f"{len(log) - 1} of {len(log)} lines: {events} joins, modes, topics and the like; 2 notices; 1 blank;"
        f" 1 in no known form, as line {events + 3} ('nora (09:15): two')"
    ]


def test_what_comes_after_the_last_im_that_is_sent_is_said(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(LOG)
    assert read_chat(tmp_path / "log", 1).describe() == ["all after line 1: no more than 1 IMs are sent"]
    whole = b"".join(LOG.splitlines(keepends=True)[:2])
    (tmp_path / "log").write_bytes(whole)
    assert read_chat(tmp_path / "log", 2).describe() == []


def test_a_demo_that_has_nothing_to_send_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"Nora said good morning\n")
    state, log = str(tmp_path), str(tmp_path / "log")
    command = [sys.executable, "-m", "deploy.local", "--state", state, "demo", "--chat", log]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "line 1 ('Nora said good morning')" in done.stderr


def test_a_message_that_no_front_end_takes_is_left_out_with_the_reason(tmp_path: Path) -> None:
    lines = [b"<nora> " + b"x" * 300_000, b"<" + b"n" * 5_000 + b"> hi", b"<nora> hi"]
    (tmp_path / "log").write_bytes(b"\n".join(lines))
    chat = read_chat(tmp_path / "log", 100)
    assert [im["body"] for im in chat.ims] == ["hi"]
    assert chat.describe() == [
        "2 of 3 lines: 1 longer than 40,000 bytes; 1 from a nick that can't be an address"
    ]


def test_the_longest_text_is_taken_by_a_front_end(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"<nora> " + b"\2" * 40_000)
    (im,) = read_chat(tmp_path / "log", 100).ims
    read_submission(msgspec.json.encode(im), SETTINGS)
