"""Federated partners are told that they are archived: a front end beside the real admin API."""

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.message import make_id
from deploy.local.process import find_free_port, wait_for
from tests.conftest import ArchiveDatabase, Vhost
from tests.integration.admin.conftest import AdminApi, running_api
from tests.integration.frontend_service import GATEWAY, FrontEnd

BOB = {"sender": "yannis@contoso.com", "recipients": ["bob@fabrikam.de"], "body": "hello"}
NOTICE = {
    "to": "sip:bob@fabrikam.de",
    "sender": "sip:yannis@contoso.com",
    "language": "de",
    "text": "Wird archiviert.",
}
DISCLAIMER = {
    "enabled": True,
    "language": "en",
    "wordings": {"en": "Is archived.", "de": "Wird archiviert."},
    "partners": {"fabrikam.de": "de"},
}


@pytest.fixture
def api(vhost: Vhost, database: ArchiveDatabase, tmp_path: Path) -> Iterator[AdminApi]:
    """The admin API, with a disclaimer for partners of contoso.com."""
    with running_api(database, tmp_path, amqp_url=vhost.url("admin-api")) as running:
        running.administrator.put("/v1/policy/domains/contoso.com").raise_for_status()
        running.administrator.put("/v1/policy/disclaimer", json=DISCLAIMER).raise_for_status()
        yield running


@pytest.fixture
def start_front_end(vhost: Vhost, start: Callable[..., FrontEnd]) -> Callable[..., FrontEnd]:
    """Start front ends of an admin API, that run its policy."""

    def it(api: AdminApi, name: str = "fe1") -> FrontEnd:
        settings = {"LCS_ADMIN_API_TOKEN": "frontend", "LCS_FRONT_END": name}
        front_end = start(vhost.url("frontend"), LCS_ADMIN_API_URL=api.url, **settings)
        wait_for(lambda: _policy_of(front_end) == api.version, "the policy")
        front_end.wait_until_ready()
        return front_end

    return it


def _policy_of(front_end: FrontEnd) -> int:
    return int(front_end.http.get("/readyz").json()["policy"]["version"])


def _notices(front_end: FrontEnd, im: dict[str, Any], **headers: str) -> list[dict[str, str]]:
    answer = front_end.post(im, **headers)
    assert answer.status_code == 201, answer.text
    notices: list[dict[str, str]] = answer.json().get("notices", [])
    return notices


def _recorded(api: AdminApi) -> list[dict[str, Any]]:
    answer = api.compliance.get("/v1/disclaimers").raise_for_status()
    disclaimers: list[dict[str, Any]] = answer.json()["disclaimers"]
    return disclaimers


def test_a_partner_is_told_with_the_first_archived_im_whichever_front_end_it_passes(
    api: AdminApi, start_front_end: Callable[..., FrontEnd]
) -> None:
    one, other = start_front_end(api, "fe1"), start_front_end(api, "fe2")
    first = BOB | {"id": str(make_id())}
    assert _notices(one, first) == [NOTICE]
    assert _notices(one, first) == [NOTICE], "whoever lost the answer asks again, and is told again"
    assert _notices(one, BOB | {"body": "again"}) == []
    assert _notices(other, BOB | {"body": "elsewhere"}) == []
    [told] = _recorded(api)
    assert (told["partner"], told["wording"], told["im"]) == (NOTICE["to"], NOTICE["text"], first["id"])
    assert (told["front_end"], told["version"]) == ("fe1", api.version)


def _delivered(front_end: FrontEnd, im: object, **headers: str) -> int:
    return front_end.http.post(f"/v1/notices/{im}/delivered", headers=headers).status_code


def test_a_connector_confirms_at_any_front_end_what_it_was_handed_and_no_other_can(
    api: AdminApi, start_front_end: Callable[..., FrontEnd]
) -> None:
    one, other = start_front_end(api, "fe1"), start_front_end(api, "fe2")
    first = BOB | {"id": str(make_id())}
    assert _notices(one, first) == [NOTICE]
    assert [told["state"] for told in _recorded(api)] == ["handed_over"]
    for front_end in (one, other):
        assert _delivered(front_end, first["id"], **GATEWAY) == 404, "it was handed to another"
        assert _delivered(front_end, make_id()) == 404
    assert _delivered(one, "nothing") == 422
    assert _delivered(one, first["id"], Authorization="Bearer nobody") == 401
    one.process.stop()
    assert _delivered(other, first["id"]) == 204
    assert _delivered(other, first["id"]) == 204
    [told] = _recorded(api)
    assert (told["state"], told["connector"]) == ("told", "c")
    assert told["told_at"] is not None


def _say(front_end: FrontEnd, text: str = "hello", conversation: str = "") -> list[dict[str, str]]:
    keyed = {"conversation": conversation} if conversation else {}
    return _notices(front_end, BOB | {"body": text} | keyed)


def _send_and_hang_up(front_end: FrontEnd, api: AdminApi, text: str = "hello") -> None:
    """Bring an IM without an id, and lose the answer."""
    body = json.dumps(BOB | {"body": text}).encode()
    head = (
        "POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    before = len(_recorded(api)) + len(_taken_back(api))
    with socket.create_connection(("127.0.0.1", front_end.port)) as connection:
        connection.sendall(head.encode() + body)
    wait_for(lambda: len(_recorded(api)) + len(_taken_back(api)) > before, "the claim")


def _taken_back(api: AdminApi) -> list[dict[str, Any]]:
    return api.audit(action="disclaimer.retract")


@pytest.mark.parametrize("text", ["hello", "something else"])
def test_who_lost_the_answer_and_brings_no_ids_has_the_notice_with_the_next(
    api: AdminApi, start_front_end: Callable[..., FrontEnd], text: str
) -> None:
    one, other = start_front_end(api, "fe1"), start_front_end(api, "fe2")
    _send_and_hang_up(one, api)
    wait_for(lambda: _recorded(api) == [], "what nobody got to be taken back")
    assert _say(other, text) == [NOTICE]
    assert [each["state"] for each in _recorded(api)] == ["handed_over"]


def test_who_got_an_answer_and_lost_it_has_the_notice_when_it_says_the_same_again(
    api: AdminApi, start_front_end: Callable[..., FrontEnd]
) -> None:
    one, other = start_front_end(api, "fe1"), start_front_end(api, "fe2")
    assert _say(one) == [NOTICE]
    assert _say(one, "meanwhile") == []
    for front_end in (other, one):
        im = BOB | {"id": str(make_id())}
        assert _notices(front_end, im) == [NOTICE]
        assert {each["state"] for each in _recorded(api)} == {"handed_over"}
    assert _delivered(other, im["id"]) == 204
    assert _say(one) == []
    assert [each["state"] for each in _recorded(api)] == ["told", "handed_over", "handed_over"]


def test_a_partner_whose_notice_fails_while_others_are_on_their_way_is_told_with_the_next(
    api: AdminApi, start_front_end: Callable[..., FrontEnd]
) -> None:
    one, other = start_front_end(api, "fe1"), start_front_end(api, "fe2")
    im = BOB | {"id": str(make_id())}
    assert _notices(one, im) == [NOTICE]
    assert _say(one, "on its way") == _say(other, "on its way there") == []
    assert _undelivered(other, im["id"], **GATEWAY) == 204, "it was handed nothing"
    assert _say(other, "still") == []
    assert _undelivered(other, im["id"]) == 204
    assert _undelivered(one, im["id"]) == 204
    assert _delivered(one, im["id"]) == 404
    assert _say(one, "next") == [NOTICE]


def test_each_of_two_connectors_that_bring_one_im_confirms_what_it_was_handed(
    api: AdminApi, start_front_end: Callable[..., FrontEnd]
) -> None:
    one, other = start_front_end(api, "fe1"), start_front_end(api, "fe2")
    im = BOB | {"id": str(make_id())}
    assert _notices(one, im) == [NOTICE]
    assert _notices(one, im, **GATEWAY) == [], "the first has it"
    assert _delivered(one, im["id"], **GATEWAY) == 404
    assert _delivered(one, im["id"]) == 204
    keyed = im | {"conversation": "budget", "id": str(make_id())}  # one for each: a key is its connector's
    assert _notices(one, keyed) == _notices(other, keyed, **GATEWAY) == [NOTICE]
    assert _delivered(one, keyed["id"]) == _delivered(one, keyed["id"], **GATEWAY) == 204
    assert [each["state"] for each in _recorded(api)] == ["told"] * 3


def _undelivered(front_end: FrontEnd, im: object, **headers: str) -> int:
    return front_end.http.post(f"/v1/notices/{im}/undelivered", headers=headers).status_code


def test_a_word_of_before_a_restore_is_recorded_and_who_has_none_is_handed_it_again(
    api: AdminApi, start_front_end: Callable[..., FrontEnd]
) -> None:
    front_end = start_front_end(api)
    im = BOB | {"id": str(make_id())}
    assert _notices(front_end, im) == [NOTICE]
    assert _say(front_end, conversation="budget") == [NOTICE]
    api.execute("TRUNCATE policy.disclaimers_sent")
    assert _delivered(front_end, im["id"]) == 202
    wait_for(lambda: [each["state"] for each in _recorded(api)] == ["told"], "the record")
    assert _say(front_end, "again") == []
    assert _say(front_end, "again", conversation="budget") == [NOTICE]


def test_one_connector_does_not_use_up_the_notice_of_another_s_conversation(
    api: AdminApi, start_front_end: Callable[..., FrontEnd]
) -> None:
    front_end = start_front_end(api)
    keyed = BOB | {"conversation": "budget"}
    stolen = _notices(front_end, keyed | {"id": (im := str(make_id()))})
    assert stolen == [NOTICE]
    assert _delivered(front_end, im) == 204
    assert _notices(front_end, keyed, **GATEWAY) == [NOTICE], "its own conversation, though of the same key"
    assert _notices(front_end, keyed) == []
    assert [told["conversation"] for told in _recorded(api)] == [
        "connector:gateway:budget",
        "connector:c:budget",
    ]


def test_what_is_not_confirmed_is_handed_over_again(
    api: AdminApi, start_front_end: Callable[..., FrontEnd]
) -> None:
    front_end = start_front_end(api)
    again = BOB | {"id": str(make_id())}
    assert _notices(front_end, BOB) == [NOTICE]
    api.execute("UPDATE policy.disclaimers_sent SET noted_at = noted_at - interval '5 minutes'")
    assert _notices(front_end, again) == [NOTICE]
    assert _delivered(front_end, again["id"]) == 204
    api.execute("UPDATE policy.disclaimers_sent SET noted_at = noted_at - interval '5 minutes'")
    assert _notices(front_end, BOB) == []


def test_who_confirms_one_partner_does_not_confirm_another(
    api: AdminApi, start_front_end: Callable[..., FrontEnd]
) -> None:
    one, other = start_front_end(api, "fe1"), start_front_end(api, "fe2")
    budget = BOB | {"conversation": "budget"}
    both = budget | {"recipients": ["bob@fabrikam.de", "carol@fabrikam.fr"], "id": str(make_id())}
    assert _notices(one, budget) == [NOTICE]
    assert [notice["to"] for notice in _notices(other, both)] == ["sip:carol@fabrikam.fr"]
    assert _delivered(other, both["id"]) == 204
    api.execute("UPDATE policy.disclaimers_sent SET noted_at = noted_at - interval '5 minutes'")

    def handed_over_again() -> bool:  # it asks again a second after it heard that bob may be told soon
        return _notices(other, budget) == [NOTICE]

    wait_for(handed_over_again, "bob's notice")


def test_partners_are_told_each_in_their_language_and_ours_are_not(
    api: AdminApi, start_front_end: Callable[..., FrontEnd]
) -> None:
    front_end = start_front_end(api)
    group = {
        "sender": "bob@fabrikam.de",
        "recipients": ["ada@contoso.com", "carol@fabrikam.fr"],
        "body": "hello",
        "conversation": "budget",
    }
    ours = {"sender": "sip:ada@contoso.com"}
    assert _notices(front_end, group, **GATEWAY) == [
        NOTICE | ours,
        {"to": "sip:carol@fabrikam.fr", "language": "en", "text": "Is archived."} | ours,
    ]
    assert _notices(front_end, BOB | {"recipients": ["ada@contoso.com"]}) == []


def test_a_stream_is_told_who_must_be_told_line_by_line(
    api: AdminApi, start_front_end: Callable[..., FrontEnd]
) -> None:
    front_end = start_front_end(api)
    line = b'{"sender":"yannis@contoso.com","recipients":["%s"],"body":"hello"}'
    people = [b"bob@fabrikam.de", b"ada@contoso.com", b"carol@fabrikam.fr"]
    answers = front_end.stream([line % person for person in people])
    assert [answer["line"] for answer in answers] == [1, 2, 3]
    told = [[notice["to"] for notice in answer.get("notices", [])] for answer in answers]
    assert told == [["sip:bob@fabrikam.de"], [], ["sip:carol@fabrikam.fr"]]


def test_who_is_not_archived_is_not_told(api: AdminApi, start_front_end: Callable[..., FrontEnd]) -> None:
    api.administrator.put("/v1/policy/global/federated", json={"archive": "none"}).raise_for_status()
    front_end = start_front_end(api)
    answer = front_end.post(BOB)
    assert (answer.status_code, answer.json()["archived"]) == (200, False)
    assert "notices" not in answer.json()
    assert _recorded(api) == []


def test_while_the_admin_api_is_away_partners_are_told_and_it_is_recorded_later(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path, start: Callable[..., FrontEnd]
) -> None:
    address = ("127.0.0.1", find_free_port())
    settings = {
        "LCS_ADMIN_API_URL": f"http://{address[0]}:{address[1]}",
        "LCS_ADMIN_API_TOKEN": "frontend",
    }
    with contextlib.ExitStack() as first:
        api = first.enter_context(
            running_api(database, tmp_path, amqp_url=vhost.url("admin-api"), address=address)
        )
        api.administrator.put("/v1/policy/domains/contoso.com").raise_for_status()
        api.administrator.put("/v1/policy/disclaimer", json=DISCLAIMER).raise_for_status()
        front_end = start(vhost.url("frontend"), **settings)
        wait_for(lambda: _policy_of(front_end) == api.version, "the policy")
        front_end.wait_until_ready()
    im = BOB | {"id": str(make_id())}
    assert _notices(front_end, im) == [NOTICE]
    assert _notices(front_end, BOB | {"body": "again"}) == []
    assert _delivered(front_end, im["id"], **GATEWAY) == 404
    assert _delivered(front_end, im["id"]) == 202
    assert _notices(front_end, BOB | {"body": "once more"}) == []
    with running_api(database, tmp_path, amqp_url=vhost.url("admin-api"), address=address) as api:
        wait_for(lambda: [told["state"] for told in _recorded(api)] == ["told"], "the record", seconds=30)
