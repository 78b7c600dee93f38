"""What a SIP request says, and that no request ends the front end."""

import base64
import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.address import parse_address, uri_of
from frontend.listeners.sip.content import CodedError, Said, find_offers, find_said
from frontend.listeners.sip.request import SIPError, parse_request

_LIST = """\
<?xml version="1.0" encoding="UTF-8"?>
<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists">
  <list><entry uri="sip:bill@example.com"/><entry uri="sip:joe@example.org"/></list>
</resource-lists>"""


def _request(
    body: bytes = b"Watson, come here.",
    *,
    method: str = "MESSAGE",
    uri: str = "sip:bob@b.example",
    to: str = "<sip:bob@b.example>",
    content_type: str = "text/plain",
    more: str = "",
) -> bytes:
    head = (
        f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n"
        f'From: "Ann, \\"A\\" <x>" <sip:ann@a.example;transport=tcp>;tag=1\r\nTo: {to}\r\nCall-ID: call-1\r\n'
        f"CSeq: 1 {method}\r\n{more}Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _said(raw: bytes) -> Said | None:
    return find_said(parse_request(raw))


def test_a_message_is_from_its_sender_to_the_requests_target() -> None:
    said = _said(_request(to="<sip:somebody.else@b.example>"))
    assert said == Said(
        "sip:ann@a.example;transport=tcp",
        ["sip:bob@b.example"],
        None,
        "text/plain",
        "text",
        "Watson, come here.",
        b"Watson, come here.",
    )


def test_a_message_of_a_session_is_to_its_other_end_and_has_its_conversation() -> None:
    said = _said(_request(uri="sip:bob@10.0.0.1:5060", to="<sip:bob@b.example>;tag=2"))
    assert said is not None
    assert (said.recipients, said.conversation) == (["sip:bob@b.example"], "sip:call-1")


def test_a_conversations_id_of_office_communicator_is_its_key() -> None:
    said = _said(_request(more="Ms-Conversation-ID: Acq1\r\n"))
    assert said is not None
    assert said.conversation == "sip:Acq1"


def test_compact_and_folded_headers_are_read() -> None:
    head = b"MESSAGE sip:b@b SIP/2.0\r\nf: sip:a@a;tag=1\r\nt:\r\n sip:b@b\r\ni: 1\r\nc: text/plain\r\nl: 2"
    raw = head + b"\r\n\r\nhi!!"
    said = _said(raw)
    assert said is not None
    assert (said.sender, said.recipients, said.body) == ("sip:a@a", ["sip:b@b"], "hi")


_TYPING = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing">'
    b"<state>active</state><refresh>60</refresh></isComposing>"
)
_TYPING_TYPE = "application/im-iscomposing+xml"
_SDP = b"v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
_MSRP = _SDP + b"m=message 2855 TCP/MSRP *\r\na=path:msrp://10.0.0.1:2855/x;tcp\r\n"


@pytest.mark.parametrize(("content_type", "body"), [(_TYPING_TYPE, _TYPING), ("application/sdp", _SDP)])
def test_what_is_proved_empty_says_nothing(content_type: str, body: bytes) -> None:
    assert _said(_request(body, content_type=content_type)) is None


@pytest.mark.parametrize(
    "method", ["MESSAGE", "INFO", "NOTIFY", "UPDATE", "OPTIONS", "REFER", "INVITE", "BYE", "PRACK"]
)
@pytest.mark.parametrize(
    "content_type",
    [
        *("application/im-iscomposing+xml", "message/imdn+xml", "application/sdp", "text/x-msmsgsinvite"),
        *(
            "application/ms-imdn+xml",
            "text/x-msmsgscontrol",
            "message/cpim",
            "multipart/mixed;boundary=b",
            "",
        ),
        *("audio/x", "text/plain", "application/x-unknown"),
    ],
)
def test_a_body_is_content_in_any_method_under_any_label_unless_it_is_proved_empty(
    method: str, content_type: str
) -> None:
    to = "<sip:bob@b.example>;tag=2"
    said = _said(_request(b"sell at noon (not XML)", method=method, content_type=content_type, to=to))
    assert said is not None
    assert said.content == b"sell at noon (not XML)"
    assert (said.recipients, said.conversation) == (["sip:bob@b.example"], "sip:call-1")


def test_an_invite_of_an_offer_and_a_text_is_archived_whole() -> None:
    body = (
        b"--b\r\nContent-Type: application/sdp\r\n\r\n"
        + _SDP
        + b"\r\n--b\r\nContent-Type: message/cpim\r\n\r\n"
        b"From: <im:a@a>\r\n\r\nContent-Type: text/plain\r\n\r\nsell\r\n--b--\r\n"
    )
    said = _said(_request(body, method="INVITE", content_type="multipart/mixed;boundary=b"))
    assert said is not None
    assert (said.content, said.content_type) == (body, "multipart/mixed;boundary=b")


@pytest.mark.parametrize("content_type", ["text/plain", "text/html"])
def test_text_of_seven_bits_with_escapes_is_archived_as_bytes(content_type: str) -> None:
    body = "<meta charset=iso-2022-jp>九時".encode("iso2022_jp")
    said = _said(_request(body, content_type=content_type))
    assert said is not None
    assert (said.encoding, said.content) == ("base64", body)


def test_what_stands_in_subject_is_said() -> None:
    said = _said(_request(b"", more="s: sell at noon\r\n"))
    assert said is not None
    assert (said.content_type, said.body) == ("text/plain", "sell at noon")
    with pytest.raises(SIPError, match="two texts"):
        _said(_request(b"x", more="Subject: sell at noon\r\n"))


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_compressed_text_is_archived_as_it_came_and_a_compressed_notice_is_one(coding: str) -> None:
    def compress(body: bytes) -> bytes:
        return gzip.compress(body) if coding == "gzip" else zlib.compress(body)

    said = _said(_request(compress(b"hello"), more=f"e: {coding}\r\n"))
    assert said is not None
    assert (said.content_encoding, said.encoding, said.content) == (coding, "base64", compress(b"hello"))
    notice = _request(compress(_TYPING), content_type=_TYPING_TYPE, more=f"Content-Encoding: {coding}\r\n")
    assert _said(notice) is None
    hidden = _request(
        compress(_TYPING) + b"sell", content_type=_TYPING_TYPE, more=f"Content-Encoding: {coding}\r\n"
    )
    assert _said(hidden) is not None


@pytest.mark.parametrize("coding", ["br", "gzip, deflate", "zstd"])
def test_a_coding_that_nobody_can_undo_is_refused(coding: str) -> None:
    with pytest.raises(CodedError):
        _said(_request(more=f"Content-Encoding: {coding}\r\n"))


def test_a_body_that_grows_without_bound_is_refused() -> None:
    with pytest.raises(CodedError):
        _said(_request(gzip.compress(bytes(10_000_000)), more="Content-Encoding: gzip\r\n"))


_MIXED = "multipart/mixed;boundary=b"


@pytest.mark.parametrize(
    ("method", "content_type", "body"),
    [
        ("INVITE", "application/sdp", _MSRP),
        ("UPDATE", "application/sdp", _MSRP),
        ("INVITE", "text/plain", _MSRP),
        ("MESSAGE", "application/sdp", b"nonsense\n m = message 2855 TCP/MSRP *"),
        ("INVITE", _MIXED, b"--b\nContent-Type: application/sdp\n\n" + _MSRP + b"\n--b--"),
        ("MESSAGE", _MIXED, b"--b\r\nContent-Type: application/sdp\r\n\r\n" + _MSRP + b"\r\n--b--"),
    ],
)
def test_an_offer_to_talk_past_us_is_found_wherever_it_may_be_read(
    method: str, content_type: str, body: bytes
) -> None:
    assert find_offers(parse_request(_request(body, method=method, content_type=content_type))) == {"msrp"}
    packed = _request(zlib.compress(body), method=method, content_type=content_type, more="e: deflate\r\n")
    assert find_offers(parse_request(packed)) == {"msrp"}


def test_an_offer_in_a_part_that_is_encoded_is_refused() -> None:
    part = (
        b"--b\r\nContent-Type: application/sdp\r\nContent-Transfer-Encoding:\r\n base64\r\n\r\nbQ==\r\n--b--"
    )
    with pytest.raises(CodedError):
        find_offers(parse_request(_request(part, method="INVITE", content_type=_MIXED)))


@pytest.mark.parametrize("encoding", ["7bit", "8bit", "binary"])
def test_an_offer_in_a_part_that_is_not_encoded_is_one(encoding: str) -> None:
    head = f"--b\r\nContent-Type: application/sdp\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode()
    request = parse_request(_request(head + _SDP + b"\r\n--b--", method="INVITE", content_type=_MIXED))
    assert (find_offers(request), find_said(request)) == (frozenset(), None)


def test_a_text_about_offers_is_a_text() -> None:
    assert find_offers(parse_request(_request(_MSRP))) == frozenset()


def test_a_typing_notice_in_cpim_says_nothing() -> None:
    head = b"From: <im:a@a>\r\nTo: <im:b@b>\r\n"
    rest = b"\r\nContent-Type: application/im-iscomposing+xml\r\n\r\n" + _TYPING
    assert _said(_request(head + rest, content_type="message/cpim")) is None
    for hidden in (
        head + rest.replace(b"application/im-iscomposing+xml", b"text/plain"),
        head + b"Subject: sell at noon\r\n" + rest,
        head.replace(b"From: <", b"From: sell at noon <") + rest,
        head + rest + b"sell at noon",
    ):
        assert _said(_request(hidden, content_type="message/cpim")) is not None


def test_an_invite_carries_a_text_or_none() -> None:
    assert _said(_request(_SDP, method="INVITE", content_type="application/sdp")) is None
    text = base64.b64encode("Grüße".encode()).decode()
    toast = f"Ms-Text-Format: text/plain; charset=UTF-8;msgr=WAA=;ms-body={text}\r\n"
    said = _said(_request(_SDP, method="INVITE", content_type="application/sdp", more=toast))
    assert said is not None
    assert said[2:6] == ("sip:call-1", "text/plain; charset=UTF-8", "text", "Grüße")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain;charset=iso-8859-1", "Grüße".encode("latin-1")),
        ("text/plain", b"\xff"),
        ("text/plain", b"a\0b"),
        ("text/rtf;charset=windows-1252", b"{\\rtf1 x}"),
        ("application/x-ms-ink", b"ink"),
    ],
)
def test_what_is_no_utf_8_text_is_kept_byte_for_byte(content_type: str, body: bytes) -> None:
    said = _said(_request(body, content_type=content_type))
    assert said is not None
    assert (said.encoding, base64.b64decode(said.body)) == ("base64", body)


def test_html_is_text_kept_as_it_is() -> None:
    said = _said(_request(b"<b>hi</b>", content_type="text/html;charset=utf-8"))
    assert said is not None
    assert (said.content_type, said.encoding, said.body) == ("text/html;charset=utf-8", "text", "<b>hi</b>")


_REQUIRE = "Require: recipient-list-message\r\n"
_LIST_HEAD = "Content-Type: application/resource-lists+xml\r\nContent-Disposition: recipient-list"


def _several(*parts: tuple[str, str], more: str = _REQUIRE, to: str = "<sip:bob@b.example>") -> bytes:
    body = "".join(f"--b1\r\n{head}\r\n\r\n{content}\r\n" for head, content in parts) + "--b1--\r\n"
    return _request(body.encode(), content_type="multipart/mixed;boundary=b1", more=more, to=to)


def test_a_list_of_recipients_makes_a_group_im() -> None:
    said = _said(_several(("Content-Type: text/plain", "Hello World!"), (_LIST_HEAD, _LIST)))
    assert said is not None
    assert said.recipients == ["sip:bill@example.com", "sip:joe@example.org"]
    assert (said.content_type, said.body, said.listed) == ("text/plain", "Hello World!", True)


@pytest.mark.parametrize(
    ("more", "to"), [("", "<sip:bob@b.example>"), (_REQUIRE, "<sip:bob@b.example>;tag=2")]
)
def test_a_list_that_nobody_requires_or_in_a_session_is_content_like_any_other(more: str, to: str) -> None:
    said = _said(_several(("Content-Type: text/plain", "x"), (_LIST_HEAD, _LIST), more=more, to=to))
    assert said is not None
    assert (said.recipients, said.listed) == (["sip:bob@b.example"], False)
    assert said.content_type == "multipart/mixed;boundary=b1"


@pytest.mark.parametrize(
    "parts",
    [
        (),
        ((_LIST_HEAD, _LIST),),
        (("", "x"), ("", "y"), (_LIST_HEAD, _LIST)),
        (("Content-Transfer-Encoding: base64", "eA=="), (_LIST_HEAD, _LIST)),
    ],
)
def test_what_is_required_as_a_list_and_is_none_is_refused(parts: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(SIPError):
        _said(_several(*parts))


def test_an_address_is_who_it_is_however_it_is_escaped() -> None:
    said = _said(_request(uri="sip:%62ob%2eb@b.example"))
    assert said is not None
    assert parse_address(said.recipients[0]) == "sip:bob.b@b.example"
    assert uri_of(parse_address("sip:j\u00fcrgen%7cx@b.example")) == "sip:j%C3%BCrgen%7Cx@b.example"


@pytest.mark.parametrize(
    "hidden",
    [
        b"X: a\nFrom: <sip:mallory@a.example>;tag=1\n\nforged\r\n",
        b"X: a\nContent-Length: 6\n\nsecret\r\n",
        b"X: a\rFrom: <sip:mallory@a.example>\r\n",
        b"X: a\0\r\n",
    ],
)
def test_a_head_that_two_could_read_in_two_ways_is_refused(hidden: bytes) -> None:
    with pytest.raises(SIPError):
        parse_request(_request().replace(b"CSeq:", hidden + b"CSeq:"))


@pytest.mark.parametrize("listed", ["<a", "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", "<resource-lists/>"])
def test_a_bad_list_of_recipients_is_refused(listed: str) -> None:
    with pytest.raises(SIPError):
        _said(_several(("Content-Type: text/plain", "x"), (_LIST_HEAD, listed)))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r\n\r\n",
        b"SIP/2.0 200 OK\r\n\r\n",
        b"MESSAGE sip:b@b SIP/3.0\r\nTo: x\r\n\r\n",
        b"MESSAGE sip:b@b SIP/2.0\r\nTo\r\n\r\n",
        b"MESSAGE sip:b@b SIP/2.0\r\nFrom: \xff\r\n\r\n",
        _request().replace(b"Content-Length: 18", b"Content-Length: 19"),
        _request().replace(b"Content-Length: 18", b"Content-Length: -1"),
        _request(more="To: <sip:two@b.example>\r\n"),
        _request(more="Ms-Text-Format: text/plain;ms-body=!\r\n", method="INVITE"),
        _request(content_type="multipart/mixed", more="Require: recipient-list-message\r\n"),
        _request().replace(b"Content-Length: 18", b"Content-Length: " + b"1" * 5000),
    ],
)
def test_what_is_no_request_is_refused(raw: bytes) -> None:
    with pytest.raises(SIPError):
        _said(raw)


_PIECES = st.sampled_from(
    [
        b"MESSAGE sip:b@b SIP/2.0\r\n",
        b"INVITE sip:b@b SIP/2.0\r\n",
        b"From: <sip:a@a>;tag=1\r\n",
        b"To: <sip:b@b>\r\n",
        b"Content-Type: multipart/mixed;boundary=b\r\n",
        b"Content-Type: message/cpim\r\n",
        b"Require: recipient-list-message\r\n",
        b"Content-Length: 3\r\n",
        b"Ms-Text-Format: text/plain;ms-body=aGk=\r\n",
        *(b"--b\r\n", b"--b--", b"\r\n", b"\r\n\r\n", b" ", b"\xff", b"<", b'"'),
    ]
)


@given(st.lists(st.one_of(_PIECES, st.binary(max_size=8)), max_size=20).map(b"".join))
def test_no_bytes_end_in_anything_but_an_answer_or_a_clear_error(raw: bytes) -> None:
    try:
        said = _said(raw)
    except SIPError as error:
        assert str(error)
    else:
        assert said is None or said.recipients
