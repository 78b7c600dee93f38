"""Nothing that is said passes unarchived: through a real edge, from one client to another."""

import gzip
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from deploy.local.process import wait_for
from tests.sip.edge import GATEWAY, HOST
from tests.sip.office import Office
from tests.sip.scenarios import TYPING
from tests.sip.wire import SDP, Message, Wire

pytestmark = pytest.mark.containers

TEXT = b"sell at noon (not XML)"
RECEIPT = (
    '<imdn xmlns="urn:ietf:params:xml:ns:imdn"><message-id>34jk324j</message-id>'
    "<datetime>2008-04-04T12:16:49-05:00</datetime>{note}"
    "<delivery-notification><status><delivered/></status></delivery-notification></imdn>"
)
Pair = tuple[Wire, Wire]


@pytest.fixture
def gateway(office: Office) -> Iterator[Wire]:
    """A client of yannis that the edge believes without a password."""
    client = Wire(office.edge, office.yannis, GATEWAY)
    yield client
    client.close()


def _requests(client: Wire, method: str = "") -> list[Message]:
    return [each for each in client.received if each.method != "SIP/2.0" and method in ("", each.method)]


def _answers(client: Wire) -> list[Message]:
    return [each for each in client.received if each.method == "SIP/2.0"]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/im-iscomposing+xml", TEXT),
        ("application/sdp", TEXT),
        ("message/imdn+xml", RECEIPT.format(note="<note>sell at noon</note>").encode()),
        ("text/x-msmsgsinvite", TEXT),
        ("text/x-msmsgscontrol", TEXT),
        ("audio/x", TEXT),
        ("text/plain;note=sell", b" "),
    ],
)
def test_a_message_is_archived_as_it_is_whatever_it_is_called(
    office: Office, pair: Pair, content_type: str, body: bytes
) -> None:
    yannis, ada = pair
    answer = yannis.ask("MESSAGE", to=office.ada, lines=[f"Content-Type: {content_type}"], body=body)
    assert answer.status == 200
    [message] = _requests(ada)
    assert (message.headers("Content-Type"), message.body) == ([content_type], body)
    assert office.contents() == [(content_type, body)]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/im-iscomposing+xml", TYPING.encode()),
        ("message/imdn+xml", RECEIPT.format(note="").encode()),
    ],
)
def test_a_notice_that_is_one_passes_and_is_not_archived(
    office: Office, pair: Pair, content_type: str, body: bytes
) -> None:
    yannis, ada = pair
    assert yannis.ask("MESSAGE", to=office.ada, lines=[f"c: {content_type}"], body=body).status == 200
    assert [message.body for message in _requests(ada)] == [body]
    assert office.archived() == []


_SPEAKING = [
    *("Subject: sell at noon", "s: sell at noon", "Organization: sell at noon", "X-Note: sell at noon"),
    *("Call-Info: <http://sell.at/noon>;purpose=info", 'Warning: 399 contoso.com "sell at noon"'),
    *("Reason: SIP;cause=200;text=sell", "Priority: sell", "Date: sell at noon", "Server: sell"),
    *("In-Reply-To: sell", "Content-Language: sell", "Content-Description: sell", "Accept-Language: sell"),
    *("User-Agent: sell at noon", "Content-Disposition: attachment;filename=sell"),
    *("Allow: SELL, AT, NOON", "Refer-To: <sip:x@y?body=sell>", 'Session-Expires: 90;note="sell"'),
    *('P-Asserted-Identity: "sell at noon" <sip:x@y>', "MIME-Version: 1.0 (sell)", "k: sell, at, noon"),
    *('Contact: "sell at noon" <sip:x@y>;note="sell"', "X-Folded: a\r\n sell at noon", "Subject\t: sell"),
    "Ms-Conversation-ID: a sell",
]  # fmt: skip


def test_of_a_request_only_headers_pass_that_say_nothing(office: Office, pair: Pair) -> None:
    yannis, ada = pair
    shown = {
        "from_": f'f: "sell at noon"\r\n <sip:{office.yannis}>;tag=1;note=sell',
        "to_": f't: sell at noon <sip:{office.ada}>;note="sell"',
    }
    for method, body in (("MESSAGE", b""), ("INVITE", SDP)):
        lines = _SPEAKING + (["Content-Type: application/sdp"] if body else ["Content-Type: text/sell"])
        answer = yannis.ask(method, to=office.ada, lines=lines, body=body, **shown)
        assert answer.status == 200, answer.head
    assert len(_requests(ada)) == 2
    assert not any("sell" in message.head.lower() for message in _requests(ada))
    assert office.archived() == []


def test_what_both_clients_need_passes(office: Office, pair: Pair) -> None:
    yannis, ada = pair
    lines = [
        *("Allow: INVITE, ACK, BYE,CANCEL", "Supported: 100rel, timer,replaces", "k: outbound", "Min-SE: 90"),
        *("Session-Expires: 1800;refresher=uac", "Content-Disposition: session;handling=required"),
        *("Ms-Conversation-ID: AcqXYZ+/==", "Require: timer", "MIME-Version: 1.0"),
    ]
    dialog = yannis.invite(office.ada, lines)
    [invite] = _requests(ada, "INVITE")
    assert set(lines) <= set(invite.head.split("\r\n"))
    ada.answers = lambda request: ada.agree(
        request, "422 x", ["Min-SE: 120", "Allow: INVITE", "Supported: timer"]
    )
    answer = yannis.ask_in(dialog, "UPDATE", ["Session-Expires: 90"])
    assert (answer.start, answer.headers("Min-SE")) == ("SIP/2.0 422 Session Interval Too Small", ["120"])
    assert office.archived() == []


@pytest.mark.parametrize(
    "escaped", ["sip:sell%20at%20noon@127.0.0.1", "sip:sell%0Aat@127.0.0.1", "sip:a@b?c=sell"]
)
def test_an_address_holds_no_blank(office: Office, pair: Pair, escaped: str) -> None:
    yannis, ada = pair
    assert yannis.ask("MESSAGE", escaped, to=office.ada).status == 400
    assert yannis.ask("MESSAGE", to=office.ada, from_=f"From: <{escaped}>;tag=1").status == 400
    assert (
        yannis.ask("INVITE", to=office.ada, lines=[f"m: <{escaped}>", "c: application/sdp"], body=SDP).status
        == 200
    )
    assert not any(b"sell" in message.raw for message in ada.received)


def test_an_answer_says_nothing(office: Office, pair: Pair) -> None:
    yannis, ada = pair
    lines = [*_SPEAKING, "Content-Type: text/plain", "Retry-After: 5 (sell at noon)"]
    ada.answers = lambda request: ada.agree(request, "299 sell at noon", lines, TEXT)
    assert yannis.ask("MESSAGE", to=office.ada, lines=["Content-Type: text/plain"], body=b"so?").status == 299
    ada.answers = lambda request: ada.agree(request, "486 sell at noon", lines, TEXT)
    assert (
        yannis.ask("INVITE", to=office.ada, lines=["Content-Type: application/sdp"], body=SDP).status == 486
    )
    ada.answers = lambda request: ada.agree(request, "603 sell", ["Content-Length: 0\r\n\r\nsell"], b"")
    assert yannis.ask("MESSAGE", to=office.ada, lines=["Content-Type: text/plain"], body=b"so?").status == 603
    assert [answer.start for answer in _answers(yannis)[-3:]] == [
        "SIP/2.0 299 OK",
        "SIP/2.0 486 Busy Here",
        "SIP/2.0 603 Decline",
    ]
    assert not any(b"sell" in answer.raw.lower() for answer in yannis.received)


@pytest.mark.parametrize(
    "label",
    [
        *(
            "application/sdp\0sell",
            "application/sdp;sell",
            "application/sdp\r\n sell",
            "application/sdp\r\nc: sell",
        ),
        *("multipart/mixed;boundary=sell", "sell/sdp"),
    ],
)
def test_an_answers_label_says_nothing(office: Office, pair: Pair, label: str) -> None:
    yannis, ada = pair
    ada.answers = lambda request: ada.agree(request, lines=[f"Content-Type: {label}"], body=SDP)
    yannis.ask("INVITE", to=office.ada, lines=["Content-Type: application/sdp"], body=SDP)
    assert not any(b"sell" in answer.raw for answer in yannis.received)


def test_of_a_description_in_an_answer_lines_pass_that_say_nothing(office: Office, pair: Pair) -> None:
    yannis, ada = pair
    speaking = b"i=sell at noon\r\na=x-note:sell\r\na=tool:sell\r\na=sendrecv\0sell\r\nsell\r\n"
    answer = SDP.replace(b"o=-", b"o=sell").replace(b"s=-", b"s=sell at noon") + speaking
    ada.answers = lambda request: ada.agree(request, body=answer if request.method == "INVITE" else None)
    yannis.invite(office.ada)
    [agreed] = [each for each in _answers(yannis) if each.headers("CSeq")[0].endswith("INVITE")]
    assert agreed.body == SDP
    assert office.archived() == []


@pytest.mark.parametrize("media", ["m=message 2855 TCP/MSRP *", "m=text 11000 RTP/AVP 98", " m = text 1 x y"])
def test_an_answer_agrees_to_nothing_that_goes_past_us(office: Office, pair: Pair, media: str) -> None:
    yannis, ada = pair
    ada.answers = lambda request: ada.agree(request, body=SDP + media.encode() + b"\r\n")
    assert yannis.invite(office.ada)
    assert [each.body for each in _answers(yannis)[-1:]] == [b""]


def test_what_answers_no_request_reaches_nobody(office: Office, pair: Pair) -> None:
    yannis, ada = pair
    hops = f"{HOST}:{office.edge.port};branch=z9hG4bK1", f"{ada.at};branch=z9hG4bK2"
    head = [
        "SIP/2.0 200 sell",
        *(f"Via: SIP/2.0/UDP {hop}" for hop in hops),
        f"From: <sip:{office.ada}>;tag=1",
        f"To: <sip:{office.yannis}>;tag=2",
        *("Call-ID: x", "CSeq: 1 MESSAGE", "Content-Length: 4"),
    ]
    yannis.send("\r\n".join([*head, "", "sell"]).encode())
    yannis.ask("MESSAGE", to=office.ada, lines=["Content-Type: text/plain"], body=b"the end")
    assert [message.body for message in ada.received[1:]] == [b"the end"]  # the first: it is registered


_OFFERS = {
    "msrp": b"m=message 2855 TCP/MSRP *\r\na=path:msrp://127.0.0.1:2855/x;tcp\r\n",
    "t140": b"m=text 11000 RTP/AVP 98\r\na=rtpmap:98 t140/1000\r\n",
    "datachannel": b"m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=sctp-port:5000\r\n",
    "file": b'm=message 2855 TCP/MSRP *\r\na=file-selector:name:"sell.txt"\r\n',
    "fax": b"m=image 4000 udptl t38\r\n",
}


@pytest.mark.parametrize("kind", _OFFERS)
def test_an_offer_to_talk_past_the_archive_is_refused_and_who_made_it_is_named(
    office: Office, pair: Pair, kind: str
) -> None:
    yannis, ada = pair
    for content_type, body in (
        ("application/sdp", SDP + _OFFERS[kind]),
        ("multipart/mixed;boundary=b", b"--b\r\nc: application/sdp\r\n\r\n" + SDP + _OFFERS[kind] + b"--b--"),
    ):
        answer = yannis.ask("INVITE", to=office.ada, lines=[f"Content-Type: {content_type}"], body=body)
        assert answer.start == "SIP/2.0 488 Not Acceptable Here"
    dialog = yannis.invite(office.ada)
    assert yannis.ask_in(dialog, "INVITE", ["c: application/sdp"], SDP + _OFFERS[kind]).status == 488
    assert yannis.ask_in(dialog, "UPDATE", ["c: application/sdp"], SDP + _OFFERS[kind]).status == 488
    assert [message.body for message in _requests(ada) if message.method != "ACK"] == [SDP]
    person = f"sip:{office.yannis}"
    day = timedelta(days=1)
    times = {"from": (datetime.now(UTC) - day).isoformat(), "to": (datetime.now(UTC) + day).isoformat()}

    def counted() -> dict[str, int]:
        found = office.officer.get("/v1/cdr/attempts", params=times).raise_for_status().json()["people"]
        return next((each["kinds"] for each in found if each["address"] == person), {})

    wait_for(lambda: counted() == {kind: 4}, f"4 attempts to be counted: {counted()}")
    found = office.officer.get("/v1/cdr", params={"user": office.yannis}).raise_for_status().json()
    dialog_record, *refused = found["sessions"]
    assert [(each["ended"], each["attempts"], each["unseen"]) for each in refused] == [
        ("488", {person: {kind: 1}}, [])
    ] * 2
    assert (dialog_record["invited"], dialog_record["attempts"]) == (True, {person: {kind: 2}})


def test_an_offer_that_an_administrator_allows_passes_and_is_recorded_as_unseen(
    office: Office, pair: Pair
) -> None:
    yannis, ada = pair
    office.set_policy(unseen=["msrp"])
    offer = SDP + _OFFERS["msrp"]
    ada.answers = lambda request: ada.agree(request, body=offer if request.method == "INVITE" else None)
    dialog = yannis.invite(office.ada, ["Content-Type: application/sdp"], offer)
    assert _requests(ada, "INVITE")[0].body == offer
    assert _answers(yannis)[-1].body == offer
    assert yannis.ask_in(dialog, "INVITE", ["c: application/sdp"], SDP + _OFFERS["t140"]).status == 488
    yannis.ask_in(dialog, "BYE")
    [session] = office.sessions(ended="bye")
    assert session["unseen"] == ["msrp"]
    assert session["attempts"] == {f"sip:{office.yannis}": {"t140": 1}}
    assert office.contents() == [("application/sdp", offer)]


_CPIM = (
    b"From: <im:a@contoso.com>\r\nTo: <im:b@contoso.com>\r\n\r\nContent-Type: text/plain\r\n\r\nsell at noon"
)


def test_an_offer_with_a_text_is_archived_whole(office: Office, pair: Pair) -> None:
    yannis, ada = pair
    parts = b"application/sdp\r\n\r\n" + SDP, b"message/cpim\r\n\r\n" + _CPIM
    body = b"".join(b"--b\r\nContent-Type: " + part + b"\r\n" for part in parts) + b"--b--\r\n"
    yannis.invite(office.ada, ["Content-Type: multipart/mixed;boundary=b"], body)
    assert [message.body for message in _requests(ada, "INVITE")] == [body]
    assert office.contents() == [("multipart/mixed;boundary=b", body)]


@pytest.mark.parametrize("backwards", [False, True])
def test_what_is_said_in_a_dialog_is_archived_or_refused_whatever_the_method(
    office: Office, pair: Pair, backwards: bool
) -> None:
    yannis, ada = pair
    dialog = yannis.invite(office.ada)
    speaker, hearer, dialog = (
        (ada, yannis, ada.dialog_of(_requests(ada, "INVITE")[0])) if backwards else (yannis, ada, dialog)
    )
    said: list[bytes] = []
    before = len(_requests(hearer))
    for method in ("MESSAGE", "INFO", "UPDATE", "INVITE", "PRACK"):
        said.append(f"{method} {TEXT.decode()}".encode())
        assert speaker.ask_in(dialog, method, ["Content-Type: text/plain"], said[-1]).status == 200
    for method in ("NOTIFY", "OPTIONS", "REFER", "SUBSCRIBE", "PUBLISH", "SELL"):
        assert speaker.ask_in(dialog, method, ["Content-Type: text/plain"], TEXT).status == 405
    speaker.acknowledge(dialog, 99, ["Content-Type: text/plain", "Subject: sell"], TEXT)
    assert speaker.ask_in(dialog, "BYE", ["Content-Type: text/plain", "Reason: sell"], TEXT).status == 200
    heard = [message for message in _requests(hearer)[before:] if b"sell" in message.raw]
    assert [message.body for message in heard] == said
    assert [content for _, content in office.contents()] == said
    assert len(_requests(hearer, "BYE")) == 1


def test_who_is_asked_for_in_a_dialog_must_be_one_of_its_two(office: Office, pair: Pair) -> None:
    yannis, ada = pair
    dialog = yannis.invite(office.ada)
    dialog.own, dialog.other = dialog.other, dialog.own
    assert yannis.ask_in(dialog, "INFO", ["Content-Type: text/plain"], TEXT).status in (403, 407)
    assert _requests(ada, "INFO") == []
    assert office.archived() == []


@pytest.mark.parametrize("method", ["INFO", "NOTIFY", "UPDATE", "OPTIONS", "REFER", "PUBLISH", "SELL"])
def test_outside_a_dialog_nobody_is_sent_anything_but_a_message_or_an_invitation(
    office: Office, pair: Pair, method: str
) -> None:
    yannis, ada = pair
    assert yannis.ask(method, to=office.ada, lines=["Content-Type: text/plain"], body=TEXT).status == 405
    assert _requests(ada) == []


def test_an_invitation_without_an_offer_is_refused(office: Office, pair: Pair) -> None:
    yannis, ada = pair
    assert yannis.ask("INVITE", to=office.ada).status == 488
    assert _requests(ada) == []


def test_a_compressed_text_is_delivered_and_archived_as_it_came(office: Office, pair: Pair) -> None:
    yannis, ada = pair
    body, lines = gzip.compress(b"hello"), ["Content-Type: text/plain", "e: gzip"]
    assert yannis.ask("MESSAGE", to=office.ada, lines=lines, body=body).status == 200
    assert [message.body for message in _requests(ada)] == [body]
    [im] = office.archived()
    assert (office.contents(), im["content_encoding"]) == ([("text/plain", body)], "gzip")
    lines = ["Content-Type: text/plain", "Content-Encoding: br"]
    answer = yannis.ask("MESSAGE", to=office.ada, lines=lines, body=b"x")
    assert answer.start == "SIP/2.0 415 Unsupported Media Type"


def test_the_text_in_an_invitation_is_delivered_as_it_is_archived(office: Office, pair: Pair) -> None:
    yannis, ada = pair
    text, font = b64encode(b"hello").decode(), b64encode(b"sell at noon").decode()
    toast = f"Ms-Text-Format: text/plain; charset=UTF-8;msgr={font};ms-body={text};note=sell"
    yannis.invite(office.ada, [toast])
    [invite] = _requests(ada, "INVITE")
    assert invite.headers("Ms-Text-Format") == [f"text/plain; charset=UTF-8;ms-body={text}"]
    assert office.contents() == [("text/plain; charset=UTF-8", b"hello")]


def test_a_head_that_readers_read_differently_says_nothing(office: Office, pair: Pair, gateway: Wire) -> None:
    yannis, ada = pair
    for hidden in ("X: a\nSubject: sell", "X: a\rSubject: sell", "X: a\0sell", "Subject: \0sell", "sell"):
        gateway.tell("MESSAGE", to=office.ada, lines=[hidden, "Content-Type: text/plain"], body=b"so?")
    for tag in ('"sell at noon"', "\0sell", "a b;x=sell", "sell,sell"):
        from_ = f'From: "Y" <sip:{office.yannis}>;tag={tag}'
        gateway.tell("MESSAGE", to=office.ada, from_=from_, lines=["c: text/plain"], body=b"so?")
    for shown in (
        "<sip:a\0sell@contoso.com>",
        f"<sip:{office.yannis}\0 sell>",
        f'"\0 sell" <sip:{office.yannis}>',
    ):
        gateway.tell(
            "MESSAGE", to=office.ada, from_=f"From: {shown};tag=1", lines=["c: text/plain"], body=b"so?"
        )
        lines = [f"Contact: {shown}", "Content-Type: application/sdp"]
        gateway.tell("INVITE", to=office.ada, lines=lines, body=SDP)
    gateway.tell("MESSAGE", to=f"{office.ada}\0 sell", lines=["Content-Type: text/plain"], body=b"so?")
    dialog = yannis.invite(office.ada)
    for hidden in ("X: a\n\nsell", "Allow: INVITE\r sell", "Supported: timer\0sell", "Subject: \nsell: x"):
        yannis.acknowledge(dialog, 99, [hidden], TEXT)
    yannis.ask_in(dialog, "BYE")
    assert not any(b"sell" in message.raw for message in ada.received)


def test_what_follows_a_body_reaches_nobody(office: Office, pair: Pair, gateway: Wire) -> None:
    yannis, ada = pair
    for method in ("MESSAGE", "INVITE"):
        lines = ["Content-Type: text/plain", "Content-Length: 2"]
        gateway.tell(method, to=office.ada, lines=lines, body=b"hisell")
    yannis.ask("MESSAGE", to=office.ada, lines=["Content-Type: text/plain"], body=b"the end")
    assert [message.body for message in _requests(ada)] == [b"the end"]
