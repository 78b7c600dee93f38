"""Call detail records of SIP sessions: from INVITE to BYE, or to the refusal."""

import pytest

from tests.sip import scenarios
from tests.sip.edge import Edge
from tests.sip.office import Office

pytestmark = pytest.mark.containers


def test_a_session_is_recorded_from_invite_to_bye_with_the_messages_of_each(office: Office) -> None:
    office.register(office.ada)
    password = office.edge.password_of(office.yannis)
    scenario = scenarios.session(office.yannis, password, office.ada, ["one", "two"])
    office.sipp.run(scenario, office.edge.port)
    [session] = office.sessions(ended="bye")
    assert (session["invited"], session["scope"], session["pool"]) == (True, "internal", "pool1")
    assert (session["messages"], session["archived"]) == (2, 2)
    assert session["caller"] == f"sip:{office.yannis}"
    assert {party["address"]: party["sent"] for party in session["parties"]} == {
        f"sip:{office.yannis}": 2,
        f"sip:{office.ada}": 0,
    }
    assert session["conversation"] == office.archived()[0]["conversation"]


def test_a_session_is_recorded_even_where_nothing_of_it_is_archived(office: Office) -> None:
    office.set_policy(internal="none")
    office.register(office.ada)
    password = office.edge.password_of(office.yannis)
    office.sipp.run(scenarios.session(office.yannis, password, office.ada, ["one"]), office.edge.port)
    [session] = office.sessions(ended="bye")
    assert session["not_archived"] == {"internal-none": 1}
    assert office.archived() == []


def test_a_session_that_is_refused_is_recorded_with_the_status(office: Office) -> None:
    office.register(office.ada, answering=scenarios.refuse(486))
    password = office.edge.password_of(office.yannis)
    office.sipp.run(scenarios.refused_session(office.yannis, password, office.ada, 486), office.edge.port)
    [session] = office.sessions(ended="486")
    assert (session["invited"], session["messages"]) == (True, 0)


def test_a_session_with_a_partner_is_recorded_as_federated(office: Office, partner: Edge) -> None:
    friend = office.ada.replace("contoso", "fabrikam")
    office.register(friend, at=partner)
    password = office.edge.password_of(office.yannis)
    office.sipp.run(scenarios.session(office.yannis, password, friend, ["one"]), office.edge.port)
    [session] = office.sessions(ended="bye")
    assert (session["scope"], session["messages"]) == ("federated", 1)


def test_single_messages_are_a_session_that_goes_on(office: Office) -> None:
    office.register(office.ada)
    for text in ("one", "two"):
        office.send(text, headers="User-Agent: Test/1.0\n")
    [session] = office.sessions(ended=None, messages=2)
    assert not session["invited"]
    assert {party["client"] for party in session["parties"]} == {"Test/1.0", None}
