"""The text of what has parts or is compressed."""

import binascii
import gzip
import json
import time
import zlib
from collections.abc import Callable
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiving.rendering import render
from archiving.rendering.cms import COMPRESSED
from tests.unit.asn1 import ber, der

MIXED = (
    b"preamble\r\n"
    b'--b1\r\nContent-Type: multipart/alternative; boundary="b\'2"\r\n\r\n'
    b"--b'2\r\n\r\nplain one\r\n"
    b"--b'2\r\nContent-Type: text/html\r\n\r\n<p>plain <b>one</b></p>\r\n"
    b"--b'2\r\nContent-Type: text/html\r\n\r\n<p>only in html</p>\r\n--b'2--\r\n"
    b'--b1\r\nContent-Type: image/png; name="cat.png"\r\nContent-Transfer-Encoding: base64\r\n\r\niVBOR==\r\n'
    b"--b1\r\nContent-Type: image/png\r\n"
    b"Content-Disposition: attachment; filename*=utf-8''%C3%BCber.png\r\n\r\n\x89\r\n"
    b"--b1--\r\nepilogue"
)
MAIL = (
    b"Received: from a by b with c\r\n"
    b"From: =?utf-8?Q?J=C3=BCrgen_M?= <j@contoso.com>\r\nTo: k@contoso.com\r\n"
    b"Subject: =?windows-1251?B?yvM=?=\r\n =?koi8-r?Q?=D0=C9?= now\r\n"
    b"Content-Type: text/plain; charset=koi8-r\r\n"
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"=C4=C5=D7=D1=D4=D8"
)
XMPP = (
    "<message xmlns='jabber:client' id='x1' from='a@b' to='c@d' type='chat'><body>hel<b>lo</b></body>"
    "<html xmlns='http://jabber.org/protocol/xhtml-im'>"
    "<body xmlns='http://www.w3.org/1999/xhtml'>hello</body></html>"
    "<reactions xmlns='urn:xmpp:reactions:0' id='x0'><reaction>buy at nine</reaction></reactions>"
    "<x xmlns='jabber:x:conference' jid='r@d' reason='come at ten'/>"
    "<x xmlns='jabber:x:oob'><url>http://d/f</url><desc>a &lt;file&gt;</desc></x>"
    "<subject>topic</subject></message>"
)


@pytest.mark.parametrize(
    ("content_type", "content", "text"),
    [
        (
            "multipart/mixed; boundary=b1",
            MIXED,
            "preamble\nplain one\nonly in html\ncat.png\nüber.png\nepilogue",
        ),
        ("multipart/mixed", b"--zz\n\none\n--zz\n\ntwo\n--zz--", "one\ntwo"),
        ("multipart/mixed; boundary=none", b"no part at all", "no part at all"),
        ("multipart/mixed; boundary=x", b"--x\r\n\r\none\r\n--x\r\n\r\nnot ended", "one\nnot ended"),
        ("multipart/mixed; boundary=x", b"--x\r\nno head here\r\n--x--", "no head here"),
        (
            "multipart/related; boundary=x",
            b"--x\r\n\r\nline\r\n--xy\r\nmore\r\n--x--",
            "line\r\n--xy\r\nmore",
        ),
        (
            "message/rfc822",
            MAIL,
            "\n".join(("Jürgen M <j@contoso.com>", "k@contoso.com", "Купи now", "девять")),
        ),
        (
            "message/cpim",
            b"From: <im:a>\r\nDateTime: 2000-12-13T13:40:00-08:00\r\n"
            b"Subject:;lang=fr Objet\r\nSubject: Topic here\r\n"
            b"NS: M <mid:m@f>\r\nM.Mood: happy\r\nimdn.Message-ID: 34\r\n\r\n"
            b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nsaid\r\n--x--",
            "Objet\nTopic here\nhappy\nsaid",
        ),
        (
            "application/xmpp+xml",
            XMPP.encode(),
            "hello\nbuy at nine\ncome at ten\nhttp://d/f\na <file>\ntopic",
        ),
        ("text/xml", '<?xml version="1.0" encoding="koi8-r"?><a>Поезд</a>'.encode("koi8_r"), "Поезд"),
        ("application/xml", '<a t="two words" u="one" title="three"/>'.encode("utf-16"), "two words\nthree"),
        ("text/xml", b"<a>one <b>two</c> three & four", "one\ntwo three & four"),
        ("text/xml", b'<!DOCTYPE a [<!ENTITY b "hidden here">]><a>&b;</a>', ']>&b;\nb "hidden here"'),
        (
            "application/json",
            b'{"a": "one", "b": ["t\\u0077o", {"two words": 1}], "b": "more"}',
            "one\ntwo\ntwo words\nmore",
        ),
        ("application/vnd.x+json; charset=utf-8", '{"a": "Grüße\\n'.encode(), "Grüße\n"),
        ("application/x-www-form-urlencoded", b"a=sell+at%20noon&b=M%C3%BCller", "a=sell at noon\nb=Müller"),
        ("application/xml", "<a>Поезд</a>".encode("utf-16-be"), "Поезд"),
        ("application/xml", "<a>Поезд</a>".encode("utf-16-le"), "Поезд"),
        (
            "text/calendar",
            b"BEGIN:VCALENDAR\r\nSUMMARY:Buy at\r\n  nine\\, or\\nten\r\n",
            "BEGIN:VCALENDAR\r\nSUMMARY:Buy at nine, or\nten\r\n",
        ),
        (
            "text/x-vcard",
            b"NOTE;ENCODING=QUOTED-PRINTABLE:M=C3=BC=\r\nller",
            "NOTE;ENCODING=QUOTED-PRINTABLE:Müller",
        ),
        ("application/im-iscomposing+xml", b"sell at noon (not XML)", "sell at noon (not XML)"),
        ("message/imdn+xml", b"<imdn><note>sell at noon</note></imdn>", "sell at noon"),
        ("application/xhtml+xml", b"<p><![CDATA[a < b]]>c</p>", "a < bc"),
        (
            "message/cpim",
            b"\r\n\r\nFrom: <im:a>\r\n\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8=",
            "hello",
        ),
        ("application/xml", b"<a><b>said</b><photo>" + b"AAAA" * 200 + b"</photo></a>", "said"),
        ("text/enriched", b"<bold>Buy</bold> at nine", "Buy at nine"),
        ("message/sipfrag", b"SIP/2.0 486 Buy at nine\r\nSubject: x\r\n\r\nbody", None),
        ("audio/x", b"sell at noon", "sell at noon"),
        ("application/octet-stream; name=plan.doc", b"\x00", "plan.doc"),
        (
            "text/html",
            b"<img alt='a cat' src=x><a href='http://x/y' title=\"T&amp;T\">here</a>",
            "here\na cat\nhttp://x/y\nT&T",
        ),
        ("text/html", b"<title>Head</title><a href='http://x/y'>http://x/y</a>", "Head\nhttp://x/y"),
    ],
)
def test_the_text_of_each_part_is_found(content_type: str, content: bytes, text: str | None) -> None:
    rendering = render(content_type, content)
    if text is None:
        assert rendering.text is not None
        assert "Buy at nine" in rendering.text
        assert "body" in rendering.text
    else:
        assert rendering.text == text
    assert rendering.encryption is None


SAID = "Купи в девять".encode()


@pytest.mark.parametrize(
    ("codings", "content"),
    [
        ("gzip", gzip.compress(SAID)),
        ("x-gzip", gzip.compress(SAID[:8]) + gzip.compress(SAID[8:])),
        ("GZIP", gzip.compress(SAID) + bytes(100)),
        ("gzip", gzip.compress(SAID) + b"and so on"),
        ("gzip", gzip.compress(SAID)[:-5]),
        ("deflate", zlib.compress(SAID)),
        ("deflate", zlib.compress(SAID)[2:-4]),
        ("deflate, gzip", gzip.compress(zlib.compress(SAID))),
        ("identity", SAID),
        ("identity , deflate", zlib.compress(SAID)),
    ],
)
def test_what_is_compressed_is_read(codings: str, content: bytes) -> None:
    assert render("text/plain", content, codings).text == SAID.decode()
    assert render("text/html; charset=x", content, codings).text == SAID.decode()


@pytest.mark.parametrize(
    ("codings", "content"),
    [
        ("br", b"\x8b\x00"),
        ("deflate", b"not compressed"),
        ("gzip", zlib.compress(SAID)),
        ("gzip", gzip.compress(bytes(1 << 24))),
        ("deflate", zlib.compress(bytes(1 << 24))),
        ("gzip, gzip", gzip.compress(gzip.compress(bytes(1 << 28), 1), 9)),
        ("gzip," * 5, b""),
        (", ".join(["identity"] * 1000), b"x"),
    ],
)
def test_what_can_t_be_decompressed_or_is_a_bomb_is_without_text(codings: str, content: bytes) -> None:
    started = time.thread_time()
    assert render("text/plain", content, codings).text is None
    assert time.thread_time() - started < 0.5


def test_what_came_as_characters_is_read_as_such_whatever_character_set_it_names() -> None:
    page = '<meta charset="koi8-r"><p>Grüße</p>'.encode()
    assert render("text/html; charset=iso-8859-1", page, is_text=True).text == "Grüße"
    parts = (
        "--x\nContent-Type: text/plain; charset=iso-8859-1\n\nGrüße\n"
        "--x\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: base64\n\n/A==\n--x--"
    )
    assert render("multipart/mixed; boundary=x", parts.encode(), is_text=True).text == "Grüße\nü"


def test_bombs_in_parts_are_bounded_together() -> None:
    bomb = gzip.compress(b"<a>" * 300_000)
    part = b"--x\nContent-Type: text/html\nContent-Encoding: gzip\n\n" + bomb + b"\n"
    started = time.thread_time()
    render("multipart/mixed; boundary=x", part * (LENGTH // len(part)))
    assert time.thread_time() - started < 2


Wrap = Callable[[str, bytes], tuple[str, bytes]]
"""From a content type and content to those of what holds it."""


def _part(content_type: str, content: bytes, encoding: str, newline: bytes) -> bytes:
    match encoding:
        case "base64":
            content = binascii.b2a_base64(content)
        case "quoted-printable":
            lines = (content[place : place + 20].hex("=").upper() for place in range(0, len(content), 20))
            content = "=\n".join(f"={line}" for line in lines).encode()
    head = (f"Content-Type: {content_type}", f"Content-Transfer-Encoding: {encoding}")
    return newline.join((*(line.encode() for line in head), b"", content))


@st.composite
def wraps(draw: st.DrawFn) -> Wrap:
    newline = draw(st.sampled_from([b"\r\n", b"\n"]))
    encoding = draw(st.sampled_from(["base64", "quoted-printable", "8bit"]))
    kind = draw(st.sampled_from(["mixed", "alternative", "cpim", "rfc822", "gzip"]))
    boundary = draw(st.from_regex(r"[A-Za-z0-9'()+_,./:=?-]{1,30}", fullmatch=True))

    def wrap(content_type: str, content: bytes) -> tuple[str, bytes]:
        part = _part(content_type, content, encoding, newline)
        if kind == "cpim":
            return "message/CPIM", newline.join((b"From: <im:a@b>", b"", part))
        if kind == "rfc822":
            return "message/rfc822", b"Received: x" + newline + part
        if kind == "gzip":
            head = f"Content-Type: {content_type}\nContent-Encoding: gzip\n\n".encode()
            return "message/rfc822", head + gzip.compress(content)
        mark = f"=_{boundary}_{len(content)}".encode()
        lines = (b"--" + mark, part, b"--" + mark, b"", b"another", b"--" + mark + b"--", b"")
        return f'multipart/{kind}; boundary="{mark.decode()}"', newline.join(lines)

    return wrap


WORDS = st.text(
    st.characters(categories=["Lu", "Ll", "Lo", "Nd"], max_codepoint=0x24F), min_size=1, max_size=20
).map(lambda text: f"«{text} ж 東»")
LEAVES = st.sampled_from(
    [
        lambda text: ("text/plain; charset=utf-16", text.encode("utf-16")),
        lambda text: ("text/plain", text.encode()),
        lambda text: ('text/plain; charset="gb18030"', text.encode("gb18030")),
        lambda text: ("text/html; charset=utf-8", f"<p>a<b>{text}</b></p>".encode()),
        lambda text: ("image/png; name=x.png", text.encode()),
        lambda text: ("application/xml", f"<a>{escape(text)}</a>".encode("utf-16")),
        lambda text: ("application/xmpp+xml", f"<m><x reason={quoteattr(text)}/></m>".encode()),
        lambda text: ("application/json", json.dumps({"a": [{"b": text}]}).encode()),
        lambda text: ("text/rtf", ("{\\rtf1 " + "".join(f"\\u{ord(c)}?" for c in text) + "}").encode()),
    ]
)


@settings(max_examples=300, deadline=None)
@given(WORDS, LEAVES, st.lists(wraps(), max_size=6), st.sampled_from(["", "gzip", "deflate"]))
def test_a_text_is_found_however_it_is_nested_and_encoded(
    text: str, leaf: Callable[[str], tuple[str, bytes]], nesting: list[Wrap], coding: str
) -> None:
    content_type, content = leaf(text)
    for wrap in nesting:
        content_type, content = wrap(content_type, content)
    if coding:
        content = gzip.compress(content) if coding == "gzip" else zlib.compress(content)
    assert text in (render(content_type, content, coding).text or "")


@given(
    st.sampled_from(
        [
            "multipart/mixed; boundary=x",
            "message/rfc822",
            "message/cpim",
            "application/xml",
            "application/json",
        ]
    ),
    st.lists(
        st.sampled_from(
            [
                *(
                    b"--x",
                    b"--x--",
                    b"\r\n",
                    b"\n",
                    b"<a b='c d'>",
                    b"</a>",
                    b"&a;",
                    b'"\\',
                    b"{",
                    b"\\ud800",
                ),
                *(b"Content-Type: multipart/mixed; boundary=x", b"Content-Type: message/rfc822"),
                *(b"Content-Transfer-Encoding: base64", b"=?utf-8?b?/w==?=", b"<!ENTITY a 'b'>"),
                *(b"-----BEGIN PGP MESSAGE-----", b"?OTR:AA", b"\xff", b"\x00"),
            ]
        )
        | st.binary(max_size=8),
        max_size=60,
    ),
)
def test_nothing_that_looks_like_structure_ends_the_worker(content_type: str, pieces: list[bytes]) -> None:
    text = render(content_type, b"".join(pieces)).text
    if text is not None:
        assert "\0" not in text
        text.encode()


def _nested(depth: int) -> bytes:
    heads = (b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (n, n) for n in range(depth))
    return b"\r\n--0\r\n" + b"".join(heads) + b"\r\ndeep"


LENGTH = 1 << 16
COSTLY = {
    "parts": ("multipart/mixed; boundary=x", b"--x\n\na\n" * (LENGTH // 7)),
    "boundaries": ("multipart/mixed; boundary=x", b"\n--x" * (LENGTH // 4)),
    "blanks": ("multipart/mixed; boundary=x", b"--x" + b" " * LENGTH),
    "nested parts": ("multipart/mixed; boundary=0", _nested(900)),
    "mails": ("message/rfc822", b"Content-Type: message/rfc822\n\n" * (LENGTH // 30)),
    "folds": ("message/rfc822", b"Subject: a" + b"\n " * (LENGTH // 2)),
    "words": ("message/rfc822", b"Subject: " + b"=?utf-8?q?" * (LENGTH // 10)),
    "word gaps": ("message/rfc822", b"Subject: =?utf-8?q?a?=" + b" " * LENGTH),
    "colons": ("message/rfc822", b":" * LENGTH),
    "parameters": ("message/rfc822", b"Content-Type: a/b" + b'; a*1="\\' * (LENGTH // 9)),
    "xml": ("application/xml", b"<a>" * (LENGTH // 3)),
    "xml attributes": ("application/xml", b"<a " + b"".join(b"a%d='b c' " % n for n in range(6000)) + b">"),
    "xml pieces": ("application/xml", b"<a>" + b"<b/>" * (LENGTH // 4)),
    "xml laughs": (
        "application/xml",
        b"<!DOCTYPE a [<!ENTITY a 'x'>" + b"<!ENTITY b '&a;&a;'>" * 3000 + b"]><a>&b;</a>",
    ),
    "quotes": ("application/json", b'"\\' * (LENGTH // 2)),
    "open quotes": ("application/json", b'"' + b'\\"' * (LENGTH // 2)),
    "json": ("application/json", b"[" * LENGTH),
    "armor": ("text/plain", b"-----BEGIN PGP MESSAGE-----\n" * (LENGTH // 28)),
    "armor heads": ("text/plain", b"-----BEGIN PGP MESSAGE-----\n" + b"Comment: a\n" * (LENGTH // 11)),
    "otr": ("text/plain", b"?OTR,1,1,a" * (LENGTH // 10)),
    "otr data": ("text/plain", b"?OTR:AAM" * (LENGTH // 8)),
    "letters": ("application/pkcs7-mime", b"A" * LENGTH + b"!"),
    "short letters": ("application/pkcs7-mime", b"AAAAAAAAAAAAAAAA " * (LENGTH // 17) + b"!"),
    "html attributes": ("text/html", b"<a" + b" alt=a" * (LENGTH // 6) + b">"),
    "html sections": ("text/html", b"<![CDATA[" * (LENGTH // 9)),
    "html quotes": ("text/html", b"<a" + b" alt='" * (LENGTH // 6) + b">"),
    "html links": ("text/html", b"<a href=x>" * (LENGTH // 10)),
    "meta": ("text/html", b"<meta" * (LENGTH // 5)),
    "form": ("application/x-www-form-urlencoded", b"%C3&" * (LENGTH // 4)),
    "envelope": ("application/pkcs7-mime", b"\x30\x80" * (LENGTH // 2)),
    "deep envelope": (
        "application/pkcs7-mime",
        ber(0x30, der(6, COMPRESSED), ber(0xA0, ber(0x30, b"\x30\x80" * (LENGTH // 2)))),
    ),
    "envelope of elements": (
        "application/pkcs7-mime",
        ber(0x30, der(6, COMPRESSED), ber(0xA0, ber(0x30, ber(0x30, b"\x02\0" * (LENGTH // 2))))),
    ),
    "base64": ("message/rfc822", b"Content-Transfer-Encoding: base64\n\n" + b"=A" * (LENGTH // 2)),
    "qp": ("message/rfc822", b"Content-Transfer-Encoding: quoted-printable\n\n" + b"= " * (LENGTH // 2)),
}


@pytest.mark.parametrize("name", COSTLY)
def test_no_structure_takes_much_longer_than_markup_of_that_length(name: str) -> None:
    def seconds(content_type: str, content: bytes) -> float:
        started = time.thread_time()
        render(content_type, content)
        return time.thread_time() - started

    bound = min(seconds("text/html", b"<a>" * (LENGTH // 3)) for _ in range(3))
    assert min(seconds(*COSTLY[name]) for _ in range(3)) < 5 * bound


def test_members_of_a_gzip_file_are_bounded() -> None:
    started = time.thread_time()
    render("text/plain", gzip.compress(b"") * 3000, "gzip")
    assert time.thread_time() - started < 0.1
