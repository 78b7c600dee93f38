"""What is sent again, and what is hardly SIP: nothing is archived that wasn't delivered, nor the reverse."""

import socket
from base64 import b64decode
from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.sip import scenarios
from tests.sip.edge import GATEWAY, HOST, said_in
from tests.sip.office import Office, wait_until_told, wait_until_told_last

pytestmark = pytest.mark.containers


@pytest.fixture
def gateway() -> Iterator[socket.socket]:
    """A gateway that the edge trusts: it sends bytes as they are."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind((GATEWAY, 0))
        one.settimeout(20)
        yield one


def _message(office: Office, body: str, **changed: str) -> bytes:
    """A MESSAGE from yannis to ada; ``changed``: what stands in place of lines of its head."""
    lines = {
        "request": f"MESSAGE sip:{office.ada} SIP/2.0",
        "via": f"Via: SIP/2.0/UDP {GATEWAY};rport;branch=z9hG4bK-{uuid4().hex}",
        "forwards": "Max-Forwards: 70",
        "from": f"From: <sip:{office.yannis}>;tag=1",
        "to": f"To: <sip:{office.ada}>",
        "call": f"Call-ID: {uuid4().hex}",
        "sequence": "CSeq: 1 MESSAGE",
        "type": "Content-Type: text/plain",
        "length": f"Content-Length: {len(body.encode())}",
    } | changed
    return ("\r\n".join(line for line in lines.values() if line) + "\r\n\r\n" + body).encode()


def _torture(office: Office) -> dict[str, bytes]:
    """RFC 4475, by the name of the test there: its pathologies in a MESSAGE."""

    def with_(name: str, **changed: str) -> bytes:
        return _message(office, name, **changed)

    ada, yannis = office.ada, office.yannis
    once = with_("dblreq")
    return {
        "wsinv": with_(
            "wsinv",
            **{"from": f"f:\r\n  <sip:{yannis}>;\r\n  tag = 98asjd8", "forwards": "MAX-FORWARDS: 0068"},
        ),
        "intmeth": with_("intmeth", request=f"!interesting-Method0123456789_*+`.%indeed'~ sip:{ada} SIP/2.0"),
        "esc01": with_("esc01", request="MESSAGE sip:sips%3Auser%40example.com@contoso.com SIP/2.0"),
        "escnull": with_("escnull", **{"from": "From: <sip:null-%00-null@contoso.com>;tag=1"}),
        "lwsdisp": with_("lwsdisp", **{"from": f"From: caller<sip:{yannis}>;tag=323"}),
        "longreq": with_(
            "longreq",
            call="Call-ID: longreq." + "really" * 50,
            forwards="Max-Forwards: 70\r\nX-Long: " + "x" * 1800,
        ),
        "dblreq": once + once.replace(b"z9hG4bK-", b"z9hG4bK-2").replace(b"dblreq", b"second"),
        "semiuri": with_("semiuri", to="To: <sip:user;par=u%40example.net@contoso.com>"),
        "clerr": with_("clerr", length="Content-Length: 9999"),
        "ncl": with_("ncl", length="Content-Length: -999"),
        "scalar02": with_(
            "scalar02", sequence="CSeq: 36893488147419103232 MESSAGE", forwards="Max-Forwards: 300"
        ),
        "quotbal": with_("quotbal", **{"from": f'From: "Mr. J. User <sip:{yannis}>;tag=1'}),
        "ltgtruri": with_("ltgtruri", request=f"MESSAGE <sip:{ada}> SIP/2.0"),
        "lwsruri": with_("lwsruri", request=f"MESSAGE sip:{ada}; lr SIP/2.0"),
        "lwsstart": with_("lwsstart", request=f"MESSAGE  sip:{ada}  SIP/2.0"),
        "trws": with_("trws", request=f"MESSAGE sip:{ada} SIP/2.0  "),
        "escruri": with_("escruri", request=f"MESSAGE sip:{ada}?Route=%3Csip:example.com%3E SIP/2.0"),
        "baddate": with_("baddate", forwards="Max-Forwards: 70\r\nDate: Fri, 01 Jan 2010 16:00:00 EST"),
        "baddn": with_("baddn", **{"from": f"From: Bell, Alexander <sip:{yannis}>;tag=43"}),
        "badvers": with_("badvers", request=f"MESSAGE sip:{ada} SIP/7.0"),
        "mismatch01": with_("mismatch01", sequence="CSeq: 8 INVITE"),
        "badbranch": with_("badbranch", via=f"Via: SIP/2.0/UDP {GATEWAY};rport;branch=z9hG4bK"),
        "insuf": with_("insuf", to="", call=""),
        "unkscm": with_("unkscm", request="MESSAGE nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0"),
        "unksm2": with_("unksm2", to="To: isbn:2983792873"),
        "bext01": with_("bext01", forwards="Max-Forwards: 70\r\nRequire: nothingSupportsThis"),
        "invut": with_("invut", type="Content-Type: application/unknownformat"),
        "multi01": with_("multi01", to=f"To: <sip:{ada}>\r\nTo: <sip:other@contoso.com>"),
        "mcl01": with_("mcl01", length="Content-Length: 7\r\nContent-Length: 5"),
        "zeromf": with_("zeromf", forwards="Max-Forwards: 0"),
        "inv2543": with_("inv2543", via=f"Via: SIP/2.0/UDP {GATEWAY}", forwards=""),
        "rubbish": b"\x00\xff" * 700,
        "nothing": b"\r\n\r\n",
    }


def _text_of(im: dict[str, str | None]) -> str:
    return im["body"] or b64decode(im["content"] or "").decode()


def test_torture_neither_ends_the_edge_nor_parts_archive_and_delivery(
    office: Office, gateway: socket.socket
) -> None:
    log = office.register(office.ada)
    for datagram in _torture(office).values():
        gateway.sendto(datagram, (HOST, office.edge.port))
    office.send("the end")
    wait_until_told_last(log, "MESSAGE the end")
    delivered = sorted(line.removeprefix("MESSAGE ") for line in said_in(log))
    archived = [_text_of(im) for im in office.archived(office.ada)]
    assert sorted(archived) == delivered
    assert {"wsinv", "lwsdisp", "longreq", "the end"} <= set(delivered)
    assert not {"second", "zeromf", "badvers", "multi01", "quotbal"} & set(delivered)


def test_what_is_sent_again_is_archived_and_delivered_once(office: Office, gateway: socket.socket) -> None:
    log = office.register(office.ada)
    message = _message(office, "once")
    for _ in range(3):
        gateway.sendto(message, (HOST, office.edge.port))
    assert gateway.recv(65_535).startswith(b"SIP/2.0 ")
    gateway.sendto(message, (HOST, office.edge.port))
    office.send("the end")
    wait_until_told(log, "MESSAGE once", "MESSAGE the end")
    assert [im["body"] for im in office.archived()] == ["once", "the end"]


def _ask_over_tcp(office: Office, request: bytes) -> bytes:
    edge, gateway = (HOST, office.edge.port), (GATEWAY, 0)
    with socket.create_connection(edge, timeout=20, source_address=gateway) as connection:
        connection.sendall(request.replace(b"SIP/2.0/UDP", b"SIP/2.0/TCP"))
        return connection.recv(65_535)


def test_a_long_text_is_archived_and_delivered(office: Office) -> None:
    log = office.register(office.ada, "-t", "t1")
    assert _ask_over_tcp(office, _message(office, "x" * 50_000)).startswith(b"SIP/2.0 200 ")
    wait_until_told(log, "MESSAGE " + "x" * 50_000)
    assert [im["body"] for im in office.archived()] == ["x" * 50_000]


def test_a_text_too_long_for_copies_is_refused_before_it_is_archived(office: Office) -> None:
    office.register(office.ada)
    body = scenarios.list_body("x" * 40_000, [office.ada]).replace("\n", "\r\n")
    listed = "Content-Type: multipart/mixed;boundary=b1\r\nRequire: recipient-list-message"
    assert _ask_over_tcp(office, _message(office, body, type=listed)).startswith(b"SIP/2.0 513 ")
    assert office.archived() == []


@pytest.mark.parametrize(
    "hidden",
    ["X: a\nFrom: <sip:mallory@contoso.com>;tag=2\n\nforged", "X: a\nContent-Length: 6\n\nsecret"],
)
def test_a_head_that_two_could_read_in_two_ways_is_neither_archived_nor_delivered(
    office: Office, gateway: socket.socket, hidden: str
) -> None:
    log = office.register(office.ada)
    gateway.sendto(
        _message(office, "genuine", forwards=f"Max-Forwards: 70\r\n{hidden}"), (HOST, office.edge.port)
    )
    office.send("the end")
    wait_until_told_last(log, "MESSAGE the end")
    archived = [_text_of(im) for im in office.archived(office.ada)]
    assert archived == [line.removeprefix("MESSAGE ") for line in said_in(log)] == ["the end"]
