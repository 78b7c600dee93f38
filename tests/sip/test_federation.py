"""IMs to and from partners: over TLS, between edges that know each other by their certificates."""

import socket
import ssl
from uuid import uuid4

import pytest
import trustme

from deploy.local.process import wait_for
from tests.sip import scenarios
from tests.sip.edge import HOST, Edge, said_in
from tests.sip.office import Office, wait_until_told

pytestmark = pytest.mark.containers


@pytest.fixture
def friend(office: Office) -> str:
    """Somebody at fabrikam.com."""
    return office.ada.replace("contoso", "fabrikam")


def test_a_message_to_a_partner_is_archived_as_federated_and_delivered(
    office: Office, partner: Edge, friend: str
) -> None:
    log = office.register(friend, at=partner)
    office.send("to Fabrikam", to=friend)
    wait_until_told(log, "MESSAGE to Fabrikam")
    [im] = office.archived()
    assert (im["body"], im["scope"], im["recipients"]) == ("to Fabrikam", "federated", [f"sip:{friend}"])


def test_a_message_from_a_partner_is_archived_as_federated_and_delivered(
    office: Office, partner: Edge, friend: str
) -> None:
    log = office.register(office.yannis)
    office.send("from Fabrikam", sender=friend, to=office.yannis, at=partner)
    wait_until_told(log, "MESSAGE from Fabrikam")
    [im] = office.archived()
    assert (im["body"], im["scope"], im["sender"]) == ("from Fabrikam", "federated", f"sip:{friend}")


@pytest.mark.parametrize("inwards", [False, True])
def test_a_session_with_a_partner_is_archived_and_delivered(
    office: Office, partner: Edge, friend: str, inwards: bool
) -> None:
    caller, called = (friend, office.yannis) if inwards else (office.yannis, friend)
    own, other = (partner, office.edge) if inwards else (office.edge, partner)
    log = office.register(called, at=other)
    scenario = scenarios.session(caller, own.password_of(caller), called, ["hello", "again"])
    office.sipp.run(scenario, own.port)
    wait_for(lambda: said_in(log)[-1:] == ["BYE"], f"the end of the session: {said_in(log)}")
    assert [line for line in said_in(log) if line.startswith("MESSAGE")] == ["MESSAGE hello", "MESSAGE again"]
    first, second = office.archived()
    assert (first["body"], second["body"], first["sender"]) == ("hello", "again", f"sip:{caller}")
    assert first["conversation"] == second["conversation"]


def test_federated_policy_is_apart_from_internal(office: Office, partner: Edge, friend: str) -> None:
    office.set_policy(federated="none")
    logs = [office.register(friend, at=partner), office.register(office.ada)]
    office.send("to both", to=friend)
    office.send("to both")
    for log in logs:
        wait_until_told(log, "MESSAGE to both")
    assert [im["recipients"] for im in office.archived()] == [[f"sip:{office.ada}"]]


def test_a_partner_is_told_once_that_it_is_archived_before_what_is_said(
    office: Office, partner: Edge, friend: str
) -> None:
    office.set_policy(disclaimer="Diese Unterhaltung wird archiviert, überall.")
    log = office.register(friend, at=partner)
    notice = "MESSAGE Diese Unterhaltung wird archiviert, überall."
    office.send("hello", to=friend)
    wait_until_told(log, notice, "MESSAGE hello")
    office.send("again", to=friend)
    wait_until_told(log, notice, "MESSAGE hello", "MESSAGE again")
    assert [im["body"] for im in office.archived()] == ["hello", "again"]
    assert [(each["wording"], each["im"]) for each in office.told(friend)] == [
        ("Diese Unterhaltung wird archiviert, überall.", office.archived()[0]["id"])
    ]
    wait_for(lambda: [each["state"] for each in office.told(friend)] == ["told"], "the edge to confirm it")


def test_a_partner_that_cannot_be_told_gets_nothing_and_is_told_with_the_next(
    office: Office, partner: Edge, friend: str
) -> None:
    office.set_policy(disclaimer="Archived.")
    office.send("nobody there", to=friend, status=480)
    wait_for(lambda: office.taken_back(friend) == 1, "the notice to be taken back")
    assert office.told(friend) == []
    log = office.register(friend, at=partner)
    office.send("hello", to=friend)
    wait_until_told(log, "MESSAGE Archived.", "MESSAGE hello")
    assert len(office.told(friend)) == 1


def test_a_partner_whose_edge_does_not_answer_gets_nothing_and_is_told_once_it_does(
    office: Office, partner: Edge, friend: str
) -> None:
    office.set_policy(disclaimer="Archived.")
    log = office.register(friend, at=partner)
    with partner.paused():
        office.send("anybody there?", to=friend, status=408)
        wait_for(lambda: office.taken_back(friend) == 1, "the notice to be taken back")
    office.send("hello", to=friend)
    # What waited at the partner's edge may come as well: twice rather than never.
    wait_for(lambda: said_in(log)[-2:] == ["MESSAGE Archived.", "MESSAGE hello"], "the notice and the IM")
    wait_for(lambda: [each["state"] for each in office.told(friend)] == ["told"], "the edge to confirm it")


def test_a_partner_that_writes_first_is_told_too(office: Office, partner: Edge, friend: str) -> None:
    office.set_policy(disclaimer="Archived.")
    theirs, ours = office.register(friend, at=partner), office.register(office.yannis)
    office.send("from Fabrikam", sender=friend, to=office.yannis, at=partner)
    wait_until_told(ours, "MESSAGE from Fabrikam")
    wait_until_told(theirs, "MESSAGE Archived.")


def test_a_partner_is_told_in_a_session_whose_invite_brings_the_first_text(
    office: Office, partner: Edge, friend: str
) -> None:
    office.set_policy(disclaimer="Archived.")
    log = office.register(friend, at=partner)
    toast = "Ms-Text-Format: text/plain; charset=UTF-8; ms-body=aGVsbG8=\n"  # hello
    password = office.edge.password_of(office.yannis)
    office.sipp.run(
        scenarios.session(office.yannis, password, friend, ["hello", "again"], toast=toast), office.edge.port
    )
    wait_for(lambda: any(line.startswith("BYE") for line in said_in(log)), "the end of the session")
    said = [line for line in said_in(log) if line.startswith("MESSAGE")]
    assert said == ["MESSAGE Archived.", "MESSAGE hello", "MESSAGE again"]
    assert [im["body"] for im in office.archived()] == ["hello", "again"]


def test_who_is_no_partner_gets_nothing(office: Office) -> None:
    office.send("to nobody we know", to="mallory@example.com", status=403)
    assert office.archived() == []


@pytest.mark.parametrize("certified_for", [None, "example.com"])
def test_nobody_sends_as_a_partner_without_its_certificate(
    office: Office, friend: str, authority: trustme.CA, certified_for: str | None
) -> None:
    log = office.register(office.yannis)
    office.sipp.run(scenarios.message(friend, office.yannis, "forged", status=403), office.edge.port)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    if certified_for is not None:
        authority.issue_cert(certified_for).configure_cert(client)
    assert _send_over_tls(client, office.edge, friend, office.yannis).startswith("SIP/2.0 403 ")
    office.send("genuine", to=office.yannis)
    wait_until_told(log, "MESSAGE genuine")
    assert [im["body"] for im in office.archived()] == ["genuine"]


def test_a_partner_with_its_certificate_is_let_in(office: Office, friend: str, authority: trustme.CA) -> None:
    client = ssl.create_default_context()
    authority.configure_trust(client)
    authority.issue_cert("fabrikam.com").configure_cert(client)
    log = office.register(office.yannis)
    assert _send_over_tls(client, office.edge, friend, office.yannis).startswith("SIP/2.0 200 ")
    wait_until_told(log, "MESSAGE hello")
    assert [im["sender"] for im in office.archived()] == [f"sip:{friend}"]


def _send_over_tls(client: ssl.SSLContext, edge: Edge, sender: str, to: str) -> str:
    """Send a MESSAGE over a TLS connection; return the last answer's head."""
    request = (
        f"MESSAGE sip:{to} SIP/2.0\r\nVia: SIP/2.0/TLS {HOST};branch=z9hG4bK-{uuid4().hex}\r\n"
        f"Max-Forwards: 70\r\nFrom: <sip:{sender}>;tag=1\r\nTo: <sip:{to}>\r\nCall-ID: {uuid4().hex}\r\n"
        "CSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
    )
    with (
        socket.create_connection((HOST, edge.tls_port), timeout=30) as plain,
        client.wrap_socket(plain, server_hostname=edge.domain) as connection,
    ):
        connection.sendall(request.encode())
        answers = connection.makefile("rb")
        while True:
            head = b"".join(iter(answers.readline, b"\r\n")).decode()
            if not head.startswith("SIP/2.0 1"):
                return head
