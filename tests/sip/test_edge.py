"""What is said over SIP is archived before it is delivered: sipp, through a real edge, to sipp."""

import base64
from pathlib import Path

import pytest
import trustme

from deploy.local.process import wait_for
from tests.sip import scenarios
from tests.sip.edge import HOST, Edge, said_in
from tests.sip.office import Office, wait_until_told

pytestmark = pytest.mark.containers


def test_a_message_is_archived_and_delivered(office: Office) -> None:
    log = office.register(office.ada)
    office.send("Shall we meet at ten?")
    wait_until_told(log, "MESSAGE Shall we meet at ten?")
    [im] = office.archived()
    assert im["body"] == "Shall we meet at ten?"
    assert (im["sender"], im["recipients"]) == (f"sip:{office.yannis}", [f"sip:{office.ada}"])
    assert (im["scope"], im["content_type"]) == ("internal", "text/plain")


def test_a_message_over_tcp_is_archived_and_delivered(office: Office) -> None:
    log = office.register(office.ada, "-t", "t1")
    office.send("over TCP", "-t", "t1")
    wait_until_told(log, "MESSAGE over TCP")
    assert [im["body"] for im in office.archived()] == ["over TCP"]


def test_a_session_is_one_conversation(office: Office) -> None:
    log = office.register(office.ada)
    password = office.edge.password_of(office.yannis)
    office.sipp.run(scenarios.session(office.yannis, password, office.ada, ["one", "two"]), office.edge.port)
    assert [line for line in said_in(log) if line.startswith(("MESSAGE", "BYE"))] == [
        "MESSAGE one",
        "MESSAGE two",
        "BYE",
    ]
    ims = office.archived()
    assert [(im["body"], im["recipients"]) for im in ims] == [
        ("one", [f"sip:{office.ada}"]),
        ("two", [f"sip:{office.ada}"]),
    ]
    assert len({im["conversation"] for im in ims}) == 1


def test_the_text_in_an_invite_is_archived_once_though_it_is_sent_again(office: Office) -> None:
    office.register(office.ada)
    text = base64.b64encode(b"hello?").decode()
    scenario = scenarios.session(
        office.yannis,
        office.edge.password_of(office.yannis),
        office.ada,
        ["hello?", "are you there?"],
        toast=f"Ms-Text-Format: text/plain; charset=UTF-8;ms-body={text}\n",
    )
    office.sipp.run(scenario, office.edge.port)
    assert [im["body"] for im in office.archived()] == ["hello?", "are you there?"]


def test_who_says_the_first_text_of_an_invite_once_more_is_archived_once_more(office: Office) -> None:
    office.register(office.ada)
    toast = f"Ms-Text-Format: text/plain; charset=UTF-8;ms-body={base64.b64encode(b'ok').decode()}\n"
    scenario = scenarios.session(
        office.yannis, office.edge.password_of(office.yannis), office.ada, ["ok", "ok", "so?"], toast=toast
    )
    office.sipp.run(scenario, office.edge.port)
    assert [im["body"] for im in office.archived()] == ["ok", "ok", "so?"]


def test_a_typing_notice_is_delivered_and_not_archived(office: Office) -> None:
    log = office.register(office.ada)
    office.send(scenarios.TYPING, content_type="application/im-iscomposing+xml")
    office.send("typed")
    wait_until_told(log, f"MESSAGE {scenarios.TYPING}", "MESSAGE typed")
    assert [im["body"] for im in office.archived()] == ["typed"]


def test_what_policy_does_not_archive_is_delivered(office: Office) -> None:
    log = office.register(office.ada)
    office.set_policy(internal="none")
    office.send("off the record")
    wait_until_told(log, "MESSAGE off the record")
    assert office.archived() == []


def test_several_recipients_make_a_group_im_and_each_gets_it(office: Office) -> None:
    grace = f"grace-{office.ada}"
    logs = [office.register(office.ada), office.register(grace)]
    office.send(
        scenarios.list_body("Hello all", [office.ada, grace]),
        to="list@contoso.com",
        content_type="multipart/mixed;boundary=b1",
        headers="Require: recipient-list-message\n",
        status=202,
    )
    for log in logs:
        wait_until_told(log, "MESSAGE Hello all")
    [im] = office.archived()
    assert im["body"] == "Hello all"
    assert im["recipients"] == [f"sip:{office.ada}", f"sip:{grace}"]


def test_a_list_of_recipients_that_nobody_asked_for_changes_neither_archive_nor_delivery(
    office: Office,
) -> None:
    grace = f"grace-{office.ada}"
    logs = [office.register(office.ada), office.register(grace)]
    for headers in ("", "Supported: recipient-list-message\n"):
        body = scenarios.list_body("Hello", [grace])
        office.send(body, content_type="multipart/mixed;boundary=b1", headers=headers)
    wait_for(lambda: len(said_in(logs[0])) >= 2, "both at ada's client")
    assert said_in(logs[1]) == []
    assert [im["recipients"] for im in office.archived()] == [[f"sip:{office.ada}"]] * 2


def test_a_list_of_recipients_in_a_later_header_is_a_list_to_both(office: Office) -> None:
    grace = f"grace-{office.ada}"
    logs = [office.register(office.ada), office.register(grace)]
    office.send(
        scenarios.list_body("Hello", [grace]),
        content_type="multipart/mixed;boundary=b1",
        headers="Require: other\nRequire: recipient-list-message\n",
        status=202,
    )
    wait_until_told(logs[1], "MESSAGE Hello")
    assert said_in(logs[0]) == []
    assert [im["recipients"] for im in office.archived()] == [[f"sip:{grace}"]]


def test_a_recipient_whose_address_is_escaped_is_who_it_is(office: Office) -> None:
    log = office.register(office.ada)
    office.set_policy(internal="per_user")
    flags = {"archive_internal": True, "archive_federated": False}
    office.administrator.put(f"/v1/policy/users/{office.ada}", json=flags).raise_for_status()
    office.wait_for_policy()
    office.send("hidden?", to=office.ada.replace("a", "%61", 1))
    wait_until_told(log, "MESSAGE hidden?")
    assert [im["body"] for im in office.archived(office.ada)] == ["hidden?"]


def test_all_devices_of_a_person_get_what_is_said(office: Office) -> None:
    logs = [office.register(office.ada) for _ in range(2)]
    office.send("ring everywhere")
    for log in logs:
        wait_until_told(log, "MESSAGE ring everywhere")
    assert [im["body"] for im in office.archived()] == ["ring everywhere"]


def test_in_a_session_nobody_speaks_for_the_other_or_to_somebody_else(office: Office) -> None:
    log = office.register(office.ada)
    password = office.edge.password_of(office.yannis)
    office.sipp.run(scenarios.forge(office.yannis, password, office.ada), office.edge.port)
    assert [line for line in said_in(log) if line.startswith("MESSAGE")] == ["MESSAGE genuine"]
    assert [(im["sender"], im["body"]) for im in office.archived()] == [(f"sip:{office.yannis}", "genuine")]


def test_who_is_not_there_gets_nothing_and_nothing_is_archived(office: Office) -> None:
    office.send("nobody here", status=480)
    assert office.archived() == []


@pytest.mark.parametrize("sender", ["yannis", "ada"])
def test_nobody_sends_under_anothers_name(office: Office, sender: str) -> None:
    log = office.register(office.ada)
    password = "wrong" if sender == "yannis" else office.edge.password_of(office.ada)
    scenario = scenarios.message(office.yannis, office.ada, "forged", password=password, status=407)
    office.sipp.run(scenario, office.edge.port)
    office.send("genuine")
    wait_until_told(log, "MESSAGE genuine")
    assert [im["body"] for im in office.archived()] == ["genuine"]


def test_a_login_that_is_refused_is_counted_and_logged_with_who_and_from_where(office: Office) -> None:
    before = office.edge.refused_logins()
    office.register(office.ada)
    assert office.edge.refused_logins() == before
    scenario = scenarios.register(office.yannis, "wrong", f"sip:yannis@{HOST}:9", status=401)
    office.sipp.run(scenario, office.edge.port)
    assert office.edge.refused_logins() == before + 1
    refused = f"REGISTER as {office.yannis.replace('@', '%40')} from udp:{HOST}:"
    assert sum(refused in line for line in office.edge.logs().splitlines()) == 1


def test_in_a_critical_pool_nothing_is_delivered_while_the_broker_is_away(office: Office) -> None:
    log = office.register(office.ada)
    office.set_policy(critical=True)
    broker = office.stack.broker
    assert broker is not None
    broker.stop()
    try:
        office.send("too early", status=503)
    finally:
        broker.start()
    office.wait_until_normal()
    office.send("in time")
    wait_until_told(log, "MESSAGE in time")
    assert [im["body"] for im in office.archived()] == ["in time"]


def test_prometheus_is_told_what_front_ends_answered(office: Office) -> None:
    log = office.register(office.ada)
    archived, passed = office.edge.asked("201"), office.edge.asked("200")
    office.send("archived")
    office.set_policy(internal="none")
    office.send("not archived")
    wait_until_told(log, "MESSAGE archived", "MESSAGE not archived")
    assert (office.edge.asked("201"), office.edge.asked("200")) == (archived + 1, passed + 1)


def test_an_edge_that_no_front_end_answers_delivers_nothing_and_prometheus_is_told(
    office: Office, authority: trustme.CA, tmp_path: Path
) -> None:
    alone = Edge(office.edge.engine, tmp_path / "alone", "contoso.com")
    alone.certify(authority)
    try:
        alone.start(f"http://{HOST}:1/v1/sip", "nobody asks for it")
        log = office.register(office.ada, at=alone)
        office.send("to nobody", at=alone, status=503)
        assert alone.asked("none") == 1
    finally:
        alone.stop()
    assert said_in(log) == []
