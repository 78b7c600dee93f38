"""The text of what was not sent as plain UTF-8 text."""

import time

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
        ("text/html", b"a<!-- no --!>b<!-->c<!--->d<!--!>no", "abcd"),
        (
            "text/html",
            b"&#" + b"0" * 5000 + b"65;&#x" + b"0" * 5000 + b"42;&#00000000;",
            "AB\N{REPLACEMENT CHARACTER}",
        ),
        ("text/html", b"a&#" + b"9" * 5000 + b";b", "a\N{REPLACEMENT CHARACTER}b"),
        ("text/html", "ü".encode() * 300_000, "ü" * (1 << 18)),
        (
            "message/cpim",
            b'From: b\r\n\r\ncontent-type:\r\n\ttext/plain;\r\n charset="iso-8859-1"\r\n\r\n\xfc\r\n\r\n',
            "ü\r\n\r\n",
        ),
        (
            "message/cpim",
            b"From: <im:a>\r\n\r\nContent-Transfer-Encoding: BASE64\r\n\r\nw7w=\r\n",
            "ü",
        ),
        ("message/cpim", b"From: <im:a>\n\nContent-Transfer-Encoding: quoted-printable\n\n=C3=BC", "ü"),
        ("message/cpim", b"From: <im:a>\r\n\r\n\r\nno inner head", "no inner head"),
        (
            "message/cpim",
            b"From: <im:a>\r\n\r\nContent-Type: message/cpim\r\n\r\nTo: b\r\n\r\nc: d\r\n\r\nit",
            "it",
        ),
        ("message/cpim", b"From: <im:a>\r\n\r\nContent-Type: multipart/mixed\r\n\r\nx", "x"),
        ("message/cpim", b"From: <im:a>\r\n\r\nX: " + b"y" * 5000 + b"\r\n\r\nit", "it"),
        ("message/cpim", b"From: <im:a>", None),
        ("text/plain; charset=punycode", b"a-b", "a-b"),
        ("text/plain; charset=idna", b"xn--tda", "xn--tda"),
        ("text/plain; charset=rot13", b"a", "a"),
        ("text/plain; charset=cp9999", b"a", "a"),
        ("text/plain; charset=gb18030", "东京".encode("gb18030"), "东京"),
        ("text/plain; charset=windows-1251", "Привет".encode("cp1251"), "Привет"),
        ("text/plain; charset=ks_c_5601-1987", "서울".encode("euc_kr"), "서울"),
        ("text/plain; charset=utf-16le", "Grüße".encode("utf-16-le"), "Grüße"),
        ("text/plain; format=flowed; charset = 'x'", b"a", "a"),
        ("application/octet-stream", b"\x00\x01", None),
        ("image/png", b"\x89PNG", None),
        ("multipart/mixed;boundary=x", b"--x\r\n\r\na\r\n--x--", "a"),
    ],
)
def test_what_is_said_can_be_read(content_type: str, content: bytes, text: str | None) -> None:
    assert render(content_type, content).text == text


@given(
    st.sampled_from(["text/html", "text/rtf", "message/cpim", "text/plain; charset=utf-7", "text/x;a=\r\nb"])
    | st.text(max_size=60),
    st.binary(max_size=400) | st.text(max_size=200).map(lambda text: (r"{\rtf1 " + text + "}").encode()),
)
def test_no_bytes_end_the_worker_and_every_text_can_be_stored(content_type: str, content: bytes) -> None:
    text = render(content_type, content).text
    if text is not None:
        assert "\0" not in text
        text.encode()


def test_only_markup_is_rendered_if_it_was_sent_as_text() -> None:
    for kind in (
        "text/HTML; charset=utf-8",
        "text/rtf",
        "application/xhtml+xml",
        "text/xml",
        "application/xml",
        "image/svg+xml",
        "application/xmpp+xml",
        "application/json",
        "application/vnd.x+json",
        "application/x-www-form-urlencoded",
        "multipart/mixed; boundary=x",
        "message/cpim",
        "message/rfc822",
        "application/pkcs7-mime",
        "application/pgp-encrypted",
    ):
        assert needs_rendering(kind), kind
    for kind in ("text/plain; charset=utf-8", "text/markdown", "audio/x", "application/sdp", "x", "text/csv"):
        assert not needs_rendering(kind), kind


_LENGTH = 64 * 1024


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("message/cpim", b'a: b\r\n\r\nContent-Type: text/plain;"' + b";" * _LENGTH),
        ("message/cpim", b'a: b\r\n\r\nContent-Type: text/plain;"' + b";" * 4000 + b"\r\n\r\nhello"),
        (
            "message/cpim",
            b"a: b\r\n\r\n"
            + b"".join(
                b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (n, n) for n in range(900)
            ),
        ),
        ("message/cpim", b"a: b\r\n\r\n" + b"Content-Type: message/cpim\r\n\r\na: b\r\n\r\n" * 1600),
        ("text/plain; charset=punycode", b"a9" * (_LENGTH // 2)),
        ('text/plain;"' + ";" * _LENGTH, b"hello"),
        ("text/plain" + "; charset" * (_LENGTH // 9), b"hello"),
        ("text/plain;" + " " * _LENGTH, b"hello"),
    ],
)
def test_nothing_takes_much_longer_than_markup_of_that_length(content_type: str, content: bytes) -> None:
    def seconds(content_type: str, content: bytes) -> float:
        started = time.thread_time()
        render(content_type, content)
        return time.thread_time() - started

    assert seconds(content_type, content) < 3 * seconds("text/html", b"<a>" * (_LENGTH // 3))
