"""The text of what was not sent as plain UTF-8 text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiving.rendering import needs_rendering, render

RTF = rb"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0 Arial;}}\f0 Meet at \b ten\b0, M\'fcller \u8364?\par now}"


@pytest.mark.parametrize(
    ("content_type", "content", "text"),
    [
        ("text/plain;charset=iso-8859-1", "Grüße".encode("latin-1"), "Grüße"),
        ("text/plain; charset=utf-16", "Grüße".encode("utf-16"), "Grüße"),
        ("text/plain; charset=Shift_JIS", "東京".encode("shift_jis"), "東京"),
        ("text/plain; charset=no-such", "Grüße".encode("cp1252"), "Grüße"),
        ("text/plain", "Grüße".encode("cp1252"), "Grüße"),
        ("text/plain", b"a\0b", "ab"),
        ("text/html", b"<p>Meet at <b>ten</b>, M&uuml;ller<br>now</p>", "Meet at ten, Müller\nnow"),
        ("text/html; charset=iso-8859-1", "<p>Grüße</p>".encode("latin-1"), "Grüße"),
        ("text/html", b"<style>p{}</style><script>x()</script>seen", "seen"),
        ("application/rtf", RTF, "Meet at ten, Müller €\nnow"),
        (
            "text/rtf",
            rb"{\rtf1\ansi{\*\x hidden}\'e4\{\u-10179?\u-8704?\tab{\pict 00}\line\emdash}",
            "ä{\U0001f600\t\n—",
        ),
        ("text/rtf", rb"{\rtf1{\fonttbl{\f0 A;}{\f1\fcharset204 B;}}\f1\'cf\f0 x\bin3 }}}y}", "Пxy"),
        ("text/html", b"a < b <!-- no --> c &lt; <P CLASS='x'>d <b", "a < b c <\nd"),
        ("message/CPIM", b"From: <im:a>\r\n\r\nContent-Type: text/html\r\n\r\n<i>hel</i>lo", "hello"),
        ("application/octet-stream", b"\x00\x01", None),
        ("image/png", b"\x89PNG", None),
        ("multipart/mixed;boundary=x", b"--x\r\n\r\na\r\n--x--", None),
    ],
)
def test_what_is_said_can_be_read(content_type: str, content: bytes, text: str | None) -> None:
    assert render(content_type, content) == text


@given(
    st.sampled_from(["text/html", "text/rtf", "message/cpim", "text/plain; charset=utf-7", "text/x;a=\r\nb"])
    | st.text(max_size=60),
    st.binary(max_size=400) | st.text(max_size=200).map(lambda text: (r"{\rtf1 " + text + "}").encode()),
)
def test_no_bytes_end_the_worker_and_every_text_can_be_stored(content_type: str, content: bytes) -> None:
    text = render(content_type, content)
    if text is not None:
        assert "\0" not in text
        text.encode()


def test_only_markup_is_rendered_if_it_was_sent_as_text() -> None:
    assert needs_rendering("text/HTML; charset=utf-8")
    assert not needs_rendering("text/plain; charset=utf-8")
    assert not needs_rendering("text/markdown")
