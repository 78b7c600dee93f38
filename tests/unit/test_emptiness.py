"""Only what parses strictly as a notice, or as an offer of media, says nothing."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.sdp import find_unseen, is_silent
from frontend.listeners.sip.emptiness import is_empty

_TYPING = "application/im-iscomposing+xml"
_RECEIPT = "message/imdn+xml"
_NOTICE = """\
<?xml version="1.0" encoding="UTF-8"?>
<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing"
    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
    xsi:schemaLocation="urn:ietf:params:xml:ns:im-composing iscomposing.xsd">
  <state>idle</state>
  <lastactive>2003-01-27T10:43:00Z</lastactive>
  <contenttype>audio</contenttype>
</isComposing>
"""
"""RFC 3994, 6: to the letter, with the namespace of its schema's place misspelt."""
_DELIVERED = """\
<?xml version="1.0" encoding="UTF-8"?>
<imdn xmlns="urn:ietf:params:xml:ns:imdn">
  <message-id>34jk324j</message-id>
  <datetime>2008-04-04T12:16:49-05:00</datetime>
  <recipient-uri>im:bob@example.com</recipient-uri>
  <original-recipient-uri>im:bob@example.com</original-recipient-uri>
  <delivery-notification><status><delivered/></status></delivery-notification>
</imdn>
"""
"""RFC 5438, 8.2."""
_CALL = """\
v=0
o=yannis 2890844526 2890844526 IN IP4 10.0.0.1
s=-
c=IN IP4 10.0.0.1
t=0 0
m=audio 49170 RTP/AVP 0 8 96 101
a=rtpmap:0 PCMU/8000
a=rtpmap:96 opus/48000/2
a=fmtp:96 useinbandfec=1; stereo=1
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=ptime:20
a=sendrecv
m=video 51372 UDP/TLS/RTP/SAVPF 99
a=rtpmap:99 H264/90000
a=fmtp:99 profile-level-id=42e01f;packetization-mode=1
a=rtcp-fb:99 nack pli
a=ice-ufrag:F7gI
a=ice-pwd:x9cml/YzichV2+XlhiMu8g
a=candidate:1 1 UDP 2130706431 10.0.0.1 51372 typ host
a=setup:actpass
a=mid:1
""".replace("\n", "\r\n")
_OFFICE = (
    _CALL.partition("m=")[0] + "m=message 5060 sip null\r\na=accept-types:text/plain text/rtf image/gif\r\n"
)
_CHROME = """\
v=0
o=- 4611731400430051336 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
a=extmap-allow-mixed
a=msid-semantic: WMS 0ef5a9a2-8b0f-4f2c-9a30-7d3a1c1f5c11
m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=candidate:1467250027 1 udp 2122260223 192.168.0.196 46243 typ host generation 0 network-id 1 network-cost 10
a=ice-ufrag:tUJh
a=ice-pwd:9p1kXy8hrZ6zLQ2mVJYtqO4n
a=ice-options:trickle
a=fingerprint:sha-256 @
a=setup:actpass
a=mid:0
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time
a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
a=sendrecv
a=msid:0ef5a9a2-8b0f-4f2c-9a30-7d3a1c1f5c11 f1d2c3b4-0000-4000-8000-000000000000
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:111 opus/48000/2
a=rtcp-fb:111 transport-cc
a=fmtp:111 minptime=10;useinbandfec=1
a=rtpmap:63 red/48000/2
a=fmtp:63 111/111
a=rtpmap:110 telephone-event/48000
a=ssrc:3735928559 cname:Wq3hVbZkT0aXyz12
m=video 9 UDP/TLS/RTP/SAVPF 96 97 45 35
c=IN IP4 0.0.0.0
a=rtpmap:96 VP8/90000
a=rtcp-fb:96 goog-remb
a=rtcp-fb:96 ccm fir
a=rtcp-fb:96 nack pli
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=rtpmap:45 AV1/90000
a=fmtp:45 level-idx=5;profile=0;tier=0
a=rtpmap:35 flexfec-03/90000
a=fmtp:35 repair-window=10000000
a=extmap:13 urn:3gpp:video-orientation
a=ssrc-group:FID 2231627014 632943048
""".replace("@", ":".join(["4A"] * 32)).replace("\n", "\r\n")
_LINPHONE = """\
v=0
o=yannis 3421 2198 IN IP4 192.168.1.2
s=Talk
c=IN IP4 192.168.1.2
t=0 0
a=ice-pwd:31b1b7c9a1f0c4d5e6f70812
a=ice-ufrag:5a3c1b2d
a=rtcp-xr:rcvr-rtt=all:10000 stat-summary=loss,dup,jitt,TTL voip-metrics
a=record:off
a=tcap:1 RTP/SAVPF RTP/SAVP
m=audio 7078 RTP/AVPF 96 97 101
a=pcfg:1 t=1
a=rtpmap:96 opus/48000/2
a=fmtp:96 useinbandfec=1
a=rtpmap:97 speex/16000
a=fmtp:97 vbr=on
a=rtpmap:101 telephone-event/48000
a=rtcp:7079
a=rtcp-fb:* trr-int 5000
a=rtcp-fb:* ccm tmmbr
m=video 9078 RTP/AVPF 96
a=rtpmap:96 H264/90000
a=fmtp:96 profile-level-id=42801F; packetization-mode=1
""".replace("\n", "\r\n")
_PJSIP = """\
v=0
o=- 3414953978 3414953978 IN IP4 10.0.0.1
s=pjmedia
b=AS:84
t=0 0
a=X-nat:0
m=audio 4000 RTP/AVP 99 0 120
c=IN IP4 10.0.0.1
b=TIAS:64000
a=rtcp:4001 IN IP4 10.0.0.1
a=sendrecv
a=rtpmap:99 iLBC/8000
a=fmtp:99 mode=30
a=rtpmap:120 telephone-event/16000
a=fmtp:120 0-16
a=ssrc:1233219 cname:4b2a7e1d
""".replace("\n", "\r\n")
_USERS = {"yannis"}
_SHORT = _NOTICE.partition("\n    xmlns:xsi")[0].partition("\n")[2] + "><state>active</state></isComposing>"
_MIXED = "multipart/mixed;boundary=b"


def _mixed(*parts: str, before: str = "", after: str = "", boundary: str = "b") -> str:
    return before + "".join(f"--{boundary}\r\n{part}\r\n" for part in parts) + f"--{boundary}--\r\n{after}"


_PART = f"Content-Type: {_TYPING}\r\n\r\n{_NOTICE}"


@pytest.mark.parametrize(
    ("content_type", "text"),
    [
        (_TYPING, _NOTICE),
        (_TYPING, _NOTICE.replace("im-composing", "im-iscomposing")),
        (_TYPING + "; charset=UTF-8", _SHORT),
        (_RECEIPT, _DELIVERED),
        (_RECEIPT, re.sub("delivery-n", "display-n", _DELIVERED).replace("<delivered/>", "<displayed/>")),
        ("text/x-msmsgscontrol", "TypingUser: yannis@contoso.com\r\n\r\n\r\n"),
        ("application/sdp", _CALL),
        ("application/sdp", _OFFICE),
        ("application/sdp", _CHROME),
        ("application/sdp", _LINPHONE),
        ("application/sdp", _PJSIP),
        ("application/sdp", _CALL.replace("\r\n", "\n")),
        (_MIXED, _mixed(_PART, f"Content-Type: application/sdp\r\n\r\n{_CALL}")),
    ],
)  # fmt: skip
def test_what_clients_send_and_says_nothing_is_empty(content_type: str, text: str) -> None:
    assert is_empty(content_type, text.encode(), _USERS)


_HIDDEN = {
    "not XML": (_TYPING, "sell at noon (not XML)"),
    "no root": (_TYPING, ""),
    "no namespace": (_TYPING, "<isComposing><state>active</state></isComposing>"),
    "an element": (_TYPING, _NOTICE.replace("</isC", "<note>sell</note></isC")),
    "a state": (_TYPING, _NOTICE.replace("idle", "sell at noon")),
    "a type": (_TYPING, _NOTICE.replace("audio", "sell/noon")),
    "a time": (_TYPING, _NOTICE.replace("2003-01-27T10:43:00Z", "noon")),
    "an attribute": (_TYPING, _NOTICE.replace("<state", '<state at="noon"')),
    "a comment": (_TYPING, _NOTICE.replace("<state", "<!-- sell at noon --><state")),
    "an instruction": (_TYPING, _NOTICE.replace("<state", "<?sell at noon?><state")),
    "a doctype": (_TYPING, _NOTICE.replace("<isC", "<!DOCTYPE sell><isC")),
    "CDATA": (_TYPING, _NOTICE.replace("idle", "<![CDATA[idle]]>")),
    "an entity": (_TYPING, _NOTICE.replace("idle", "&#105;dle")),
    "a namespace": (_TYPING, _NOTICE.replace("<isComposing ", '<isComposing xmlns:sell="noon" ')),
    "text between": (_TYPING, _NOTICE.replace("<state", "sell<state")),
    "text before": (_TYPING, "sell" + _NOTICE),
    "text after": (_TYPING, _NOTICE + "sell at noon"),
    "much space": (_TYPING, _NOTICE + " \t" * 3000),
    "a parameter": (_TYPING + ';note="sell at noon"', _NOTICE),
    "a note": (_RECEIPT, _DELIVERED.replace("</imdn>", "<note>sell</note></imdn>")),
    "a subject": (_RECEIPT, _DELIVERED.replace("<deliv", "<subject>sell</subject><deliv")),
    "a status": (_RECEIPT, _DELIVERED.replace("<delivered/>", "<sell/>")),
    "an id": (_RECEIPT, _DELIVERED.replace("34jk324j", "sell at noon")),
    "a sentence to MSN": ("text/x-msmsgscontrol", "TypingUser: sell at noon"),
    "an offer of a file": ("text/x-msmsgsinvite", "sell at noon"),
    "a session's name": ("application/sdp", _CALL.replace("s=-", "s=sell at noon")),
    "a session's user": ("application/sdp", _CALL.replace("o=yannis", "o=sell")),
    "information": ("application/sdp", _CALL.replace("c=", "i=sell at noon\r\nc=", 1)),
    "an address": ("application/sdp", _CALL.replace("c=", "e=sell@noon\r\nc=", 1)),
    "a page": ("application/sdp", _CALL.replace("c=", "u=http://sell.at/noon\r\nc=", 1)),
    "a phone": ("application/sdp", _CALL.replace("c=", "p=+1 (sell at noon)\r\nc=", 1)),
    "a key": ("application/sdp", _CALL + "k=clear:sell\r\n"),
    "an attribute of SDP": ("application/sdp", _CALL + "a=x-note:sell at noon\r\n"),
    "a codec": ("application/sdp", _CALL.replace("opus", "sell")),
    "a codec's parameter": ("application/sdp", _CALL.replace("stereo=1", "note=sell")),
    "a line that is none": ("application/sdp", _CALL + "sell at noon\r\n"),
    "a bare return": ("application/sdp", _CALL.replace("a=sendrecv", "a=sendrecv\rsell")),
    "no offer": ("application/sdp", "sell at noon"),
    "a preamble": (_MIXED, _mixed(_PART, before="sell\r\n")),
    "an epilogue": (_MIXED, _mixed(_PART, after="sell")),
    "a part": (_MIXED, _mixed(_PART, "\r\nsell")),
    "a part's header": (_MIXED, _mixed(f"X: sell\r\n{_PART}")),
    "a boundary": ('multipart/mixed;boundary="sell at"', _mixed(_PART, boundary="sell at")),
    "no parts": (_MIXED, "--b--"),
}  # fmt: skip


@pytest.mark.parametrize("hidden", _HIDDEN)
def test_a_notice_is_empty_only_if_it_parses(hidden: str) -> None:
    content_type, text = _HIDDEN[hidden]
    assert not is_empty(content_type, text.encode(), _USERS)


@given(st.sampled_from([(_TYPING, _NOTICE), (_RECEIPT, _DELIVERED), ("application/sdp", _CALL)]), st.data())
def test_a_sentence_anywhere_in_a_notice_makes_it_content(
    notice: tuple[str, str], data: st.DataObject
) -> None:
    content_type, text = notice
    place = data.draw(st.integers(0, len(text)))
    for sentence in ("sell at noon", "sell  it now!", "kauf \u00fcber Mittag", "\x00sell it"):
        assert not is_empty(content_type, (text[:place] + sentence + text[place:]).encode(), _USERS)


@pytest.mark.parametrize(
    "line",
    [
        "a=fmtp:96 " + "apt=1;" * 200 + "sell",
        "a=fmtp:96 " + "apt=1.2.3.4.5.6;" * 200 + "sell",
        "a=accept-types:" + "a/a " * 32 + "sell",
        "a=rtcp-xr:" + "stat-summary=loss,dup " * 200 + "sell",
        "a=ice-options:" + "ice2 " * 200 + "sell",
        "a=group:BUNDLE" + " a" * 200 + " sell!",
        "a=candidate:1 1 UDP 1 1.1.1.1 1 typ host" + " network-id 1" * 200 + " sell",
        "m=audio 1 RTP/AVP" + " 0" * 200 + " sell",
    ],
)
def test_a_line_that_is_nearly_one_is_told_from_it_at_once(line: str) -> None:
    assert not is_empty("application/sdp", f"{_CALL}{line}\r\n".encode(), _USERS)


@given(
    st.sampled_from(["", _TYPING, _RECEIPT, "message/cpim", "application/sdp", "multipart/mixed;boundary=b"]),
    st.binary(),
)
def test_no_bytes_end_in_anything_but_an_answer(content_type: str, body: bytes) -> None:
    assert not is_empty(content_type, body)
    find_unseen(body)


@pytest.mark.parametrize(
    ("media", "kinds"),
    [
        ("m=message 2855 TCP/MSRP *", {"msrp"}),
        ("m=message 2855 TCP/TLS/MSRP *", {"msrp"}),
        ("m=message 0 TCP/MSRP *", {"msrp"}),
        ("m=audio 4000 TCP/MSRP *", {"msrp"}),
        ("m=audio 4000 RTP/AVP 0\na=path:msrps://10.0.0.1:1/x;tcp", {"msrp"}),
        ("m=text 11000 RTP/AVP 98\na=rtpmap:98 t140/1000", {"t140"}),
        ("m=audio 11000 RTP/AVP 98\na=rtpmap:98 t140c/8000", {"t140"}),
        ("m=video 11000 RTP/AVP 98\na=rtpmap:98 red/1000", {"t140"}),
        ("m=application 9 UDP/DTLS/SCTP webrtc-datachannel\na=sctp-port:5000", {"datachannel"}),
        ('m=message 2855 TCP/MSRP *\na=file-selector:name:"sell.txt"', {"file"}),
        ("m=image 4000 udptl t38", {"fax"}),
        ("m=application 9 TCP/BFCP *", {"other"}),
        ("m=sell at noon", {"other"}),
        ("M = MESSAGE 2855 TCP/MSRP *", {"msrp"}),
        ("m=audio 4000 RTP/AVP 0\nm=message 5060 sip null", set()),
    ],
)
def test_media_that_go_past_us_are_named(media: str, kinds: set[str]) -> None:
    for end in ("\r\n", "\n", "\r"):
        body = (_CALL + media + "\n").replace("\r\n", "\n").replace("\n", end).encode()
        assert find_unseen(body) == kinds
        assert not (kinds and is_silent(body, _USERS))
