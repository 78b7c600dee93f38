"""``POST /v1/sip``, as an edge asks it: what is archived, what is refused, whose word is believed."""

import base64
import re
import zlib

import httpx
import pytest

from contract.message import IM
from contract.topology import QUEUE
from tests.conftest import Vhost
from tests.integration.frontend_service import FrontEnd, ims_of

TOAST = base64.b64encode(b"hello?").decode()
SDP = b"v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"


def ask(
    front_end: FrontEnd, method: str, *lines: str, body: bytes = b"", tag: str = "", **headers: str
) -> httpx.Response:
    """Hand over a request of yannis to ada; ``tag``: hers, within a dialog."""
    head = [
        f"{method} sip:ada@contoso.com SIP/2.0",
        "From: <sip:yannis@contoso.com>;tag=1",
        f"To: <sip:ada@contoso.com>{f';tag={tag}' if tag else ''}",
        *("Call-ID: c1", f"CSeq: 1 {method}", *lines, f"Content-Length: {len(body)}", "", ""),
    ]
    sent = {"Content-Type": "message/sip"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return front_end.http.post("/v1/sip", content="\r\n".join(head).encode() + body, headers=sent)


def archived(vhost: Vhost) -> list[IM]:
    """Return what was published."""
    return ims_of(vhost.take(QUEUE))


def counted(front_end: FrontEnd, name: str, label: str) -> float:
    """Return a counter of Prometheus's."""
    found = re.search(rf'^{name}{{.*"{label}".*}} (.*)$', front_end.http.get("/metrics").text, re.MULTILINE)
    assert found is not None
    return float(found[1])


def test_a_first_text_that_comes_again_is_archived_once_if_its_voucher_is_ours(
    vhost: Vhost, front_end: FrontEnd
) -> None:
    invited = ask(
        front_end, "INVITE", f"Ms-Text-Format: text/plain;ms-body={TOAST}", "c: application/sdp", body=SDP
    )
    assert invited.headers["LCS-Text-Format"] == f"text/plain;ms-body={TOAST}"
    voucher = invited.headers["LCS-Toast"]
    again = ask(front_end, "MESSAGE", "c: text/plain", body=b"hello?", tag="2", LCS_Toast=voucher)
    assert (again.status_code, again.json()["rule"]) == (200, "said-before")
    forged = (voucher[:-1] + "x", "0" * 32 + " yes", voucher)
    for place, (text, brought) in enumerate(zip((b"hello?", b"hello?", b"another"), forged, strict=True), 1):
        answer = ask(front_end, "MESSAGE", "c: text/plain", body=text, tag="2", LCS_Toast=brought)
        assert (answer.status_code, answer.json()["archived"]) == (201, True)
        assert counted(front_end, "lcs_frontend_forged_vouchers_total", "LCS-Toast") == place
    assert [im.body for im in archived(vhost)] == ["hello?", "hello?", "hello?", "another"]


@pytest.mark.parametrize("header", ["LCS_Untold", "LCS_Told"])
def test_notices_are_taken_back_or_confirmed_by_who_was_handed_them(front_end: FrontEnd, header: str) -> None:
    for brought in (
        "0199c0de-0000-7000-8000-000000000000",
        "0199c0de-0000-7000-8000-000000000000.99999999999.0",
    ):
        answer = ask(front_end, "MESSAGE", body=b"x", **{header: brought})
        assert answer.status_code == 400
    assert counted(front_end, "lcs_frontend_forged_vouchers_total", header.replace("_", "-")) == 2


def test_what_an_ended_session_is_told_with_hides_no_text(vhost: Vhost, front_end: FrontEnd) -> None:
    answer = ask(front_end, "MESSAGE", "c: text/plain", body=b"sell", LCS_Ended="486")
    assert answer.status_code == 201
    assert [im.body for im in archived(vhost)] == ["sell"]
    odd = ask(front_end, "INVITE", "c: application/sdp", body=SDP, LCS_Ended="nobody knows")
    assert (odd.status_code, odd.json()["field"]) == (422, "LCS-Ended")


@pytest.mark.parametrize("method", ["INVITE", "UPDATE", "PRACK"])
def test_offers_past_the_archive_are_refused_and_counted(front_end: FrontEnd, method: str) -> None:
    offer = SDP + b"m=message 2855 TCP/MSRP *\r\n"
    for place, (lines, body) in enumerate(
        ((["c: application/sdp"], offer), (["c: application/sdp", "e: deflate"], zlib.compress(offer))), 1
    ):
        answer = ask(front_end, method, *lines, body=body, tag="2")
        assert (answer.status_code, answer.headers["Content-Type"]) == (406, "application/problem+json")
        assert "msrp" in answer.json()["detail"]
        assert counted(front_end, "lcs_frontend_unseen_attempts_total", "msrp") == place


def test_a_coding_that_nobody_reads_is_refused(vhost: Vhost, front_end: FrontEnd) -> None:
    assert ask(front_end, "MESSAGE", "Content-Encoding: br", body=b"x").status_code == 415
    packed = zlib.compress(b"hello")
    assert (
        ask(front_end, "MESSAGE", "Content-Encoding: Deflate", "c: text/plain", body=packed).status_code
        == 201
    )
    [im] = archived(vhost)
    assert (im.content_encoding, base64.b64decode(im.body)) == ("deflate", packed)


def test_what_is_called_a_notice_and_is_none_is_archived_and_counted(
    vhost: Vhost, front_end: FrontEnd
) -> None:
    answer = ask(front_end, "MESSAGE", "c: application/im-iscomposing+xml", body=b"sell at noon (not XML)")
    assert answer.status_code == 201
    assert counted(front_end, "lcs_frontend_unseen_attempts_total", "disguised") == 1
    [im] = archived(vhost)
    assert base64.b64decode(im.body) == b"sell at noon (not XML)"
