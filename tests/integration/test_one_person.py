"""One person is one address at every door: HTTP, policy, bulk changes, decisions, and what is published."""

import contextlib
import gzip
import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest

from contract.message import IM, IM_TYPE, decode_ims
from contract.topology import QUEUE
from deploy.local.broker import Broker
from deploy.local.database import Database
from deploy.local.process import wait_for
from tests.conftest import Vhost, create_database, declare
from tests.integration.admin.conftest import AdminApi, make_im, running_api
from tests.integration.frontend_service import NDJSON, FrontEnd
from tests.integration.test_frontend_policy import start_with

PEOPLE = {
    "jos\u00e9@contoso.com": [
        "jose\u0301@contoso.com",
        "sip:jos%C3%A9@contoso.com",
        "xmpp:JOSE%CC%81@contoso.com/phone",
        "JOS\u00c9@CONTOSO.COM.",
    ],
    "bob@contoso.com": [
        "sip:%62ob@contoso.com",
        "sips:bob;day=tuesday@contoso.com:5061;transport=tls",
        "\uff42ob@contoso.com",
        "bob@contoso\u3002com",
        "im:bob@contoso.com",
        "bob@contoso.com/home",
    ],
    "boss@contoso.com": ["bo\u017fs@contoso.com", "sip:bo%C3%9F@contoso.com"],
    "+14255550100@contoso.com": [
        "sip:+1-425-555-0100@contoso.com;user=phone",
        "+1(425)555.0100@contoso.com",
        "sip:+14255550100;ext=7@contoso.com",
    ],
    "d'artagnan@contoso.com": [
        "d\\27artagnan@contoso.com",
        "xmpp:d%5C27artagnan@contoso.com",
        "sip:d%27artagnan@contoso.com",
    ],
    "ann@b\u00fcro.example": [
        "ann@xn--bro-hoa.example",
        "xmpp:ann@B%C3%9CRO.example",
        "ann@bu\u0308ro.example.",
    ],
    "bot.contoso.com": ["xmpp:bot.contoso.com/nick", "sip:BOT.contoso.com:5060"],
}
"""Those who are archived, and other spellings of them."""
NOBODY = [
    "bo\u200bb@contoso.com",
    "sip:bob%E2%80%8B@contoso.com",
    "xmpp:bo%E2%80%AEb@contoso.com",
    "bob\ufe0f@contoso.com",
    "bob@con\u00adtoso.com",
    "b\u2800ob@contoso.com",
    "bo%62@contoso.com",
    "sip:%c1%a2ob@contoso.com",
]
OTHERS = [
    "\u0430nn@b\u00fcro.example",
    "b\u043eb@contoso.com",
    "sip:bob%3Bx@contoso.com",
    "d\\27@contoso.com",
]
"""Other people, however they look."""
FLAGS = {"archive_internal": True, "archive_federated": True}


class Running(NamedTuple):
    """The services that all tests of the module ask, for they change little."""

    vhost: Vhost
    api: AdminApi
    front_end: FrontEnd


@pytest.fixture(scope="module")
def running(
    broker: Broker, database_server: Database, credentials: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """An admin API with a policy by which those of PEOPLE are archived, and a front end that runs it."""
    folder = tmp_path_factory.mktemp("one-person")
    vhost = declare(broker, f"one-person-{uuid4()}", credentials)
    database = create_database(database_server, credentials)
    with running_api(database, folder, amqp_url=vhost.url("admin-api")) as api, contextlib.ExitStack() as end:
        policy = api.administrator
        for domain in ("contoso.com", "b\u00fcro.example", "bot.contoso.com"):
            policy.put(f"/v1/policy/domains/{domain}").raise_for_status()
        names = {"domains": ["contoso.com", "B\u00dcRO.example.", "bot.contoso.com"], "gateway_for": ["*"]}
        policy.put("/v1/policy/connectors/c", json=names).raise_for_status()
        for scope in ("internal", "federated"):
            policy.put(f"/v1/policy/global/{scope}", json={"archive": "per_user"}).raise_for_status()
        lines = "".join(json.dumps({"address": each, **FLAGS}) + "\n" for each in PEOPLE)
        policy.patch("/v1/policy/users", content=lines, headers=NDJSON).raise_for_status()

        def start(amqp_url: str, **settings: str) -> FrontEnd:
            started = FrontEnd(folder / "fe", amqp_url, **settings)
            end.callback(started.process.kill)
            return started

        front_end = start_with(api, vhost, start)
        front_end.wait_until_ready()
        yield Running(vhost, api, front_end)
    broker.forget_vhost(vhost.name)
    database.drop()


@pytest.fixture
def vhost(running: Running) -> Vhost:
    """The front end's vhost, without what was sent before."""
    running.vhost.take(QUEUE)
    return running.vhost


@pytest.fixture
def api(running: Running) -> AdminApi:
    """The admin API."""
    return running.api


@pytest.fixture
def front_end(running: Running) -> FrontEnd:
    """The front end."""
    return running.front_end


def _published(vhost: Vhost) -> list[IM]:
    return [
        im for each in vhost.take(QUEUE) if each.properties.type == IM_TYPE for im in decode_ims(each.body)
    ]


def _im(sender: str, *recipients: str) -> dict[str, Any]:
    return {"sender": sender, "recipients": recipients, "body": "hello"}


def test_every_spelling_of_somebody_is_archived_as_that_one(
    vhost: Vhost, api: AdminApi, front_end: FrontEnd
) -> None:
    canonical = {
        person: api.administrator.get(f"/v1/policy/users/{person}").json()["address"] for person in PEOPLE
    }
    spellings = [(person, text) for person, texts in PEOPLE.items() for text in (person, *texts)]
    for person, text in spellings:
        for im in (_im(text, "eve@contoso.com"), _im("eve@contoso.com", text)):
            answer = front_end.post(im)
            assert (answer.status_code, answer.json()["archived"]) == (201, True), text
        asked = {"sender": text, "recipient": "eve@contoso.com"}
        decision = api.administrator.get("/v1/policy/decision", params=asked).raise_for_status().json()
        assert decision["archive"], text
        assert decision["participants"][0]["address"] == canonical[person]
    ims = _published(vhost)
    assert [im.sender for im in ims[::2]] == [canonical[person] for person, _ in spellings]
    assert [im.recipients for im in ims[1::2]] == [(canonical[person],) for person, _ in spellings]
    assert len({im.conversation for im in ims}) == len(PEOPLE)


def test_the_spelling_is_kept_if_it_is_another(vhost: Vhost, front_end: FrontEnd) -> None:
    group = ["bob@contoso.com", "sip:%62ob@contoso.com", "ann@xn--bro-hoa.example"]
    front_end.post(_im("jose\u0301@contoso.com", *group)).raise_for_status()
    front_end.post(_im("SIP:Jos\u00e9@contoso.com:5060", "bob@contoso.com;x=y")).raise_for_status()
    odd, usual = _published(vhost)
    assert odd.spelled == ("jose\u0301@contoso.com", *group)
    assert odd.recipients == ("sip:bob@contoso.com", "sip:ann@xn--bro-hoa.example")
    assert usual.spelled == ()


def test_what_could_be_anybody_is_refused_and_told_why(api: AdminApi, front_end: FrontEnd) -> None:
    for text in NOBODY:
        for im, field in (
            (_im(text, "eve@contoso.com"), "/sender"),
            (_im("eve@contoso.com", text), "/recipients/0"),
        ):
            answer = front_end.post(im)
            assert (answer.status_code, answer.json()["field"]) == (422, field), text
        params = {"sender": text, "recipient": "eve@contoso.com"}
        assert api.administrator.get("/v1/policy/decision", params=params).status_code == 422
        assert api.compliance.get("/v1/messages", params={"user": text}).status_code == 422
        assert api.compliance.get("/v1/cdr", params={"user": text}).status_code == 422
        lines = json.dumps({"address": text, **FLAGS})
        refused = api.administrator.patch("/v1/policy/users", content=lines, headers=NDJSON)
        assert (refused.status_code, refused.json()["errors"][0]["line"]) == (422, 1)
    told = front_end.post(_im(NOBODY[0], "eve@contoso.com")).json()["detail"]
    assert "U+200B (ZERO WIDTH SPACE), which nobody sees: leave it out" in told


def test_who_only_looks_like_somebody_is_another(front_end: FrontEnd) -> None:
    for text in OTHERS:
        answer = front_end.post(_im(text, "eve@contoso.com"))
        assert (answer.status_code, answer.json()["archived"]) == (200, False), text


def test_a_telephone_number_without_a_domain_is_that_of_ours_who_has_it(
    vhost: Vhost, api: AdminApi, front_end: FrontEnd
) -> None:
    for text in ("tel:+1-425-555-0100", "tel:+14255550100;ext=7"):
        answer = front_end.post(_im("eve@contoso.com", text))
        assert (answer.json()["archived"], answer.json()["rule"]) == (True, "internal-user")
        asked = {"sender": "eve@contoso.com", "recipient": text}
        assert api.administrator.get("/v1/policy/decision", params=asked).json()["archive"]
    assert {im.recipients for im in _published(vhost)} == {("tel:+14255550100",)}
    assert front_end.post(_im("eve@contoso.com", "tel:+14255550199")).json()["rule"] == "federated-no-user"
    refused = api.administrator.put("/v1/policy/users/tel:+14255550100", json=FLAGS)
    assert "write it as sip:+14255550100@contoso.com" in refused.json()["detail"]


def test_two_spellings_of_one_person_in_a_bulk_change_must_agree(api: AdminApi) -> None:
    lines = "".join(
        json.dumps({"address": address, "archive_internal": flag}) + "\n"
        for address, flag in (("jose\u0301@contoso.com", False), ("jos\u00e9@contoso.com", True))
    )
    refused = api.administrator.patch("/v1/policy/users", content=lines, headers=NDJSON)
    assert refused.json()["errors"] == [{"line": 1, "detail": "lines 1, 2 of one address differ"}]


def test_who_looks_like_somebody_is_shown_as_such(api: AdminApi) -> None:
    path = "/v1/policy/users/\u0430nn@b\u00fcro.example"
    look = {
        "address": "sip:\u0430nn@xn--bro-hoa.example",
        "shown": "sip:\u0430nn@b\u00fcro.example",
        "mixed_scripts": ["Cyrillic", "Latin"],
    }
    assert api.administrator.put(path, json=FLAGS).json()["look"] == look
    listed = api.administrator.get("/v1/policy/users").json()["users"]
    assert {each["address"] for each in listed if "look" in each} == {
        look["address"],
        "sip:ann@xn--bro-hoa.example",
    }
    asked = {"sender": "\u0430nn@b\u00fcro.example", "recipient": "b\u043eb@contoso.com"}
    participants = api.administrator.get("/v1/policy/decision", params=asked).json()["participants"]
    assert [each["look"].get("looks_like") for each in participants] == [None, "sip:bob@contoso.com"]
    domain = api.administrator.get("/v1/policy/domains/B\u00dcRO.example").json()
    assert (domain["domain"], domain["shown"]) == ("xn--bro-hoa.example", "b\u00fcro.example")
    api.store([make_im(sender="sip:b\u043eb@contoso.com")])
    [message] = api.compliance.get("/v1/messages").json()["messages"]
    assert [each["looks_like"] for each in message["looks"]] == ["sip:bob@contoso.com"]
    api.administrator.delete(path).raise_for_status()  # who is archived is as before, for the other tests


def _message(sender: str, uri: str) -> bytes:
    """Return a SIP MESSAGE."""
    head = (
        f"MESSAGE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n"
        f"From: <{sender}>;tag=1\r\nTo: <{uri}>\r\nCall-ID: 1\r\nCSeq: 1 MESSAGE\r\n"
        "Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
    )
    return head.encode()


def test_every_spelling_over_sip_is_archived_as_that_one(
    vhost: Vhost, api: AdminApi, front_end: FrontEnd
) -> None:
    spellings = {
        "sip:%62ob@contoso.com;transport=tcp": "sip:bob@contoso.com",
        "sips:bob;day=tuesday@contoso.com.": "sip:bob@contoso.com",
        "sip:jose%CC%81@contoso.com": "sip:jos\u00e9@contoso.com",
        "sip:+1-425-555-0100@contoso.com;user=phone": "sip:+14255550100@contoso.com",
        "sip:d%27artagnan@contoso.com": "sip:d'artagnan@contoso.com",
        "sip:bot.contoso.com": "sip:bot.contoso.com",
        "tel:+1-425-555-0100;ext=7": "sip:+14255550100@contoso.com",
    }
    sip = {"Content-Type": "message/sip"}
    for text, address in spellings.items():
        content = _message("sip:eve@contoso.com", text)
        answer = front_end.http.post("/v1/sip", content=content, headers=sip)
        assert (answer.status_code, answer.json()["archived"]) == (201, True), text
        [im] = _published(vhost)
        assert (im.sender, im.recipients) == ("sip:eve@contoso.com", (address,))
    for text in ("sip:bob%E2%80%8B@contoso.com", "sip:%c1%a2ob@contoso.com"):
        answer = front_end.http.post("/v1/sip", content=_message("sip:eve@contoso.com", text), headers=sip)
        assert answer.status_code == 422


def test_a_number_may_send_over_sip_by_a_gateway(vhost: Vhost, front_end: FrontEnd) -> None:
    headers = {"Content-Type": "message/sip"}
    content = _message("tel:+1-425-555-0199", "sip:bob@contoso.com")
    assert front_end.http.post("/v1/sip", content=content, headers=headers).status_code == 201
    [im] = _published(vhost)
    assert (im.sender, im.scope) == ("tel:+14255550199", "federated")


def _in_session(method: str, uri: str, to: str, lines: str, body: bytes = b"") -> bytes:
    """Return a request of eve's with the Call-ID of all."""
    head = (
        f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n"
        f"From: <sip:eve@contoso.com>;tag=1\r\nTo: {to}\r\nCall-ID: 1\r\nCSeq: 1 {method}\r\n"
        f"{lines}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@pytest.mark.parametrize(
    ("to", "lines"),
    [
        ("bob", "Content-Type: text/plain"),
        ("ada", "Content-Type: text/plain\r\nContent-Encoding: gzip"),
        ("ada", "Content-Type: text/html"),
        ("ada", "Content-Type: text/plain;charset=koi8-r"),
    ],
)
def test_the_first_text_of_a_session_is_that_of_its_invite_only_to_the_same_and_read_alike(
    front_end: FrontEnd, to: str, lines: str
) -> None:
    body = gzip.compress(b"sell at noon")
    toast = f"Ms-Text-Format: text/plain;ms-body={b64encode(body).decode()}"
    invite = _in_session("INVITE", "sip:ada@contoso.com", "<sip:ada@contoso.com>", toast)
    voucher = _ask(front_end, invite).headers["LCS-Toast"]
    device, same = "sip:x@192.0.2.1", "Content-Type: text/plain;msgr=x"
    again = _in_session("MESSAGE", device, "<sip:ada@contoso.com>;tag=2", same, body)
    assert _ask(front_end, again, voucher).json()["rule"] == "said-before"
    other = _in_session("MESSAGE", device, f"<sip:{to}@contoso.com>;tag=2", lines, body)
    assert _ask(front_end, other, voucher).json()["rule"] == f"internal-{'' if to == 'bob' else 'no-'}user"


def _ask(front_end: FrontEnd, content: bytes, toast: str = "") -> httpx.Response:
    headers = {"Content-Type": "message/sip"} | ({"LCS-Toast": toast} if toast else {})
    return front_end.http.post("/v1/sip", content=content, headers=headers)


def test_a_session_begins_with_whom_it_names(front_end: FrontEnd) -> None:
    """Else its texts would be archived as said to somebody whom they do not reach."""
    lines = "Content-Type: text/plain"
    for to, status in (("sip:ada@contoso.com", 400), ("sips:b%6Fb;x=y@contoso.com:5061", 201)):
        invite = _in_session("INVITE", "sip:bob@contoso.com", f"<{to}>", lines, b"hello")
        assert _ask(front_end, invite).status_code == status, to


def test_two_spellings_of_one_partner_are_refused(api: AdminApi) -> None:
    partners = {"b\u00fccher.example": "de", "xn--bcher-kva.example": "en"}
    notice = {"enabled": False, "wordings": {"en": "x", "de": "y"}, "partners": partners}
    refused = api.administrator.put("/v1/policy/disclaimer", json=notice)
    assert (refused.status_code, refused.json()["field"]) == (422, "/partners")
    partners.popitem()
    kept = api.administrator.put("/v1/policy/disclaimer", json=notice).raise_for_status().json()
    assert kept["partners"] == {"xn--bcher-kva.example": "de"}


def test_who_is_to_be_reached_is_named_as_it_came(api: AdminApi, front_end: FrontEnd) -> None:
    """Another may be logged in as strasse than as stra\u00dfe, though they are one person here."""
    notice = {"enabled": True, "wordings": {"en": "This conversation is archived."}}
    api.administrator.put("/v1/policy/disclaimer", json=notice).raise_for_status()
    wait_for(lambda: front_end.http.get("/readyz").json()["policy"]["version"] == api.version, "the policy")
    [told] = front_end.post(_im("bob@contoso.com", "stra\u00dfe@fabrikam.de")).json()["notices"]
    assert told["to"] == "sip:stra%C3%9Fe@fabrikam.de"
    [told] = front_end.post(_im("bob@contoso.com", "Ann@fabrikam.de")).json()["notices"]
    assert told["to"] == "sip:ann@fabrikam.de"
    entries = '<entry uri="sip:stra%C3%9Fe@contoso.com"/><entry uri="sip:STRASSE@contoso.com"/>'
    parts = (
        "--b1\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b1\r\n"
        "Content-Type: application/resource-lists+xml\r\nContent-Disposition: recipient-list\r\n\r\n"
        '<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists">'
        f"<list>{entries}</list></resource-lists>\r\n--b1--\r\n"
    )
    head = _message("sip:eve@contoso.com", "sip:list@contoso.com").decode().partition("Content-Type")[0]
    head += "Require: recipient-list-message\r\nContent-Type: multipart/mixed;boundary=b1\r\n"
    content = f"{head}Content-Length: {len(parts)}\r\n\r\n{parts}".encode()
    answer = front_end.http.post("/v1/sip", content=content, headers={"Content-Type": "message/sip"})
    assert answer.headers["LCS-Recipients"] == "sip:stra%C3%9Fe@contoso.com|sip:STRASSE@contoso.com"
