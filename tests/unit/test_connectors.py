"""Whom a connector may speak for: its own people, and foreign ones only where it is their gateway."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.cdr import Activity
from contract.conversation import conversation_key
from contract.message import time_at
from contract.policy import ConnectorRights, GlobalSetting, Policy, PolicySettings
from frontend.agent import Agent
from frontend.config import FrontEndSettings
from frontend.im import CheckedIM, IMProblem
from frontend.listeners.submission import read_submission
from frontend.policy.decisions import Decisions, rights_of
from runtime.problem import Problem
from runtime.token import CONNECTOR_NAME, Connector, by_hash
from tests.unit.agent_port import CONNECTOR, Port, make_im, run

_SETTINGS = FrontEndSettings(amqp_url="amqp://nowhere", connectors_file=Path("none"))
_DOMAINS = ["contoso.com", "litware.com", "fabrikam.com", "partner.org", "tailspin.example"]

some_domains = st.frozensets(st.sampled_from(_DOMAINS), max_size=3)
gateways = st.frozensets(st.sampled_from([*_DOMAINS, "*"]), max_size=2)


def _im(sender: str, *recipients: str) -> CheckedIM:
    document = {
        "sender": f"someone@{sender}",
        "recipients": [f"x@{each}" for each in recipients],
        "body": "hi",
    }
    return read_submission(json.dumps(document).encode(), _SETTINGS)


def _connector(name: str, domains: frozenset[str], gateway_for: frozenset[str] = frozenset()) -> Connector:
    return Connector(name=name, hash=name, pool="pool1", domains=domains, gateway_for=gateway_for)


def _policy(domains: frozenset[str], *connectors: ConnectorRights) -> Policy:
    settings = PolicySettings(
        version=1,
        since=0,
        internal=GlobalSetting.EVERYONE,
        federated=GlobalSetting.EVERYONE,
        domains=domains,
        pools=(),
        connectors=connectors,
    )
    return Policy(settings, users={})


@st.composite
def policies(draw: st.DrawFn) -> Policy | None:
    ours = draw(some_domains)
    named = draw(st.dictionaries(st.sampled_from("abc"), st.tuples(some_domains, gateways), max_size=3))
    connectors = [
        ConnectorRights(name=name, domains=domains & ours, gateway_for=gateway_for)
        for name, (domains, gateway_for) in named.items()
    ]
    return draw(st.sampled_from([None, _policy(ours, *connectors)]))


@given(
    st.lists(st.tuples(some_domains, gateways), min_size=3, max_size=3),
    policies(),
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from(_DOMAINS),
            st.lists(st.sampled_from(_DOMAINS), min_size=1, max_size=3),
        ),
        max_size=20,
    ),
)
def test_an_accepted_im_comes_from_the_connectors_own_people_or_from_those_it_is_a_gateway_for(
    filed: list[tuple[frozenset[str], frozenset[str]]],
    policy: Policy | None,
    sent: list[tuple[int, str, list[str]]],
) -> None:
    connectors = [_connector(name, *each) for name, each in zip("abc", filed, strict=True)]
    decisions = Decisions("pool1", connectors)
    somebodys = frozenset().union(
        *(each.domains for each in connectors), policy.settings.domains if policy else frozenset()
    )
    for number, sender, recipients in sent:
        rights = rights_of(connectors[number], policy)
        own = sender in rights.domains
        gateway = sender not in somebodys and not {sender, "*"}.isdisjoint(rights.gateway_for)
        allowed = own or (gateway and not rights.domains.isdisjoint(recipients))
        try:
            decisions.decide(policy, _im(sender, *recipients), connectors[number])
        except IMProblem as problem:
            assert problem.status == 403
            assert not allowed
        else:
            assert allowed


@pytest.mark.parametrize(
    ("sender", "recipient", "why"),
    [
        ("contoso.com", "contoso.com", ""),
        ("contoso.com", "partner.org", ""),
        ("litware.com", "contoso.com", "gateway_for"),  # not declared yet, and nobody's
        ("partner.org", "contoso.com", "PUT /v1/policy/connectors/chat"),
        ("partner.org", "partner.org", "speaks for nobody here: not for partner.org"),
    ],
)
def test_a_connector_speaks_for_its_own_domains_whatever_is_declared(
    sender: str, recipient: str, why: str
) -> None:
    connector = _connector("chat", frozenset({"contoso.com"}))
    im = _im(sender, recipient)
    for policy in (None, _policy(frozenset()), _policy(frozenset({"contoso.com"}))):
        decisions = Decisions("pool1", [connector])
        if not why:
            decisions.decide(policy, im, connector)
            continue
        with pytest.raises(IMProblem) as raised:
            decisions.decide(policy, im, connector)
        assert (raised.value.status, raised.value.field, raised.value.id) == (403, "/sender", im.id)
        assert why in raised.value.detail


def test_nobody_is_a_gateway_for_a_domain_of_ours() -> None:
    edge = _connector("edge", frozenset({"contoso.com"}), frozenset({"*", "litware.com"}))
    other = _connector("other", frozenset({"litware.com"}))
    for connectors, policy in (
        ([edge, other], _policy(frozenset())),
        ([edge], _policy(frozenset({"litware.com"}))),
    ):
        with pytest.raises(IMProblem, match=r"doesn't speak for litware\.com: send it by the one that does"):
            Decisions("pool1", connectors).decide(policy, _im("litware.com", "contoso.com"), edge)


def test_what_policy_says_of_a_connector_or_a_domain_counts_in_place_of_the_file() -> None:
    chat = _connector("chat", frozenset({"contoso.com", "litware.com"}), frozenset({"*"}))
    both = frozenset({"contoso.com", "litware.com"})
    assert rights_of(chat, _policy(both)).domains == both
    named = ConnectorRights(name="chat", domains=frozenset({"contoso.com"}))
    assert rights_of(chat, _policy(both, named)) == named
    other = ConnectorRights(name="other", domains=frozenset({"litware.com"}))
    assert rights_of(chat, _policy(both, other)).domains == {"contoso.com"}


def test_a_telephone_number_speaks_by_a_gateway_for_all() -> None:
    document = {"sender": "tel:+14255550100", "recipients": ["b@contoso.com"], "body": "hi"}
    im = read_submission(json.dumps(document).encode(), _SETTINGS)
    ours = frozenset({"contoso.com"})
    for gateway_for in (frozenset[str](), frozenset({"partner.org"})):
        connector = _connector("chat", ours, gateway_for)
        with pytest.raises(IMProblem, match=r"telephone numbers.* name \* in its gateway_for"):
            Decisions("pool1", [connector]).decide(_policy(ours), im, connector)
    edge = _connector("edge", ours, frozenset({"*"}))
    assert Decisions("pool1", [edge]).decide(_policy(ours), im, edge).scope == "federated"


def test_a_telephone_number_that_is_ours_is_its_own_domains() -> None:
    document = {"sender": "tel:+14255550100", "recipients": ["b@contoso.com"], "body": "hi"}
    im = read_submission(json.dumps(document).encode(), _SETTINGS)
    settings = _policy(frozenset({"contoso.com", "litware.com"})).settings
    policy = Policy(settings, users={"sip:+14255550100@litware.com": 1})
    contoso = _connector("contoso", frozenset({"contoso.com"}), frozenset({"*"}))
    litware = _connector("litware", frozenset({"litware.com"}))
    decisions = Decisions("pool1", [contoso, litware])
    with pytest.raises(IMProblem, match=r"doesn't speak for litware\.com"):
        decisions.decide(policy, im, contoso)
    assert decisions.decide(policy, im, litware).scope == "internal"


names = st.from_regex(CONNECTOR_NAME.removeprefix("^").removesuffix("$"), fullmatch=True)
keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=255) | st.sampled_from(
    ["p2p:sip:a@contoso.com|sip:b@contoso.com", "group:00", "connector:b:x", "b:x", ":", "x"]
)


@given(st.tuples(names, keys), st.tuples(names, keys))
def test_no_two_connectors_write_into_one_conversation(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (conversation_key(*one) == conversation_key(*other)) == (one == other)
    assert not conversation_key(*one).startswith(("p2p:", "group:"))
    assert len(conversation_key(*one)) <= 255 + 75


@pytest.mark.parametrize("key", [None, "call-1", "p2p:sip:a@contoso.com|sip:b@contoso.com", "connector:d:x"])
def test_a_key_that_a_caller_brings_is_its_connectors_own(key: str | None) -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        brought = {} if key is None else {"conversation": key}
        for connector in (CONNECTOR, msgspec.structs.replace(CONNECTOR, name="d")):
            for body in ("one", "two"):
                await agent.submit(
                    make_im(body, None, **brought), connector, agent.lane_of(connector)
                ).settled()
        people = "p2p:sip:a@contoso.com|sip:b@contoso.com"
        expected = [people] * 4 if key is None else [f"connector:{name}:{key}" for name in "ccdd"]
        assert [im.conversation for im in port.confirmed] == expected

    run(scenario)


@pytest.mark.parametrize("did", [{"invited": True}, {"attempts": {"msrp": 1}}])
def test_a_session_that_a_connector_may_not_begin_is_in_no_record_nor_what_is_tried_in_it(
    did: dict[str, Any],
) -> None:
    async def scenario(agent: Agent, _port: Port) -> None:
        for sender, refused in (("sip:x@partner.org", True), ("sip:a@contoso.com", False)):
            session = Activity(
                conversation="call-1", sender=sender, recipients=("sip:b@contoso.com",), scope="internal",
                pool="pool1", client="", first=time_at(0), last=time_at(0), **did,
            )  # fmt: skip
            if refused:
                with pytest.raises(Problem, match="gateway_for"):
                    agent.note_session(session, CONNECTOR)
            else:
                agent.note_session(session, CONNECTOR)
                assert session.conversation == "connector:c:call-1"

    run(scenario)


@pytest.mark.parametrize("name", ["", "a:b", "a b", "a/b", "x" * 65])
def test_a_connectors_name_can_stand_in_a_key(name: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="name"):
        msgspec.json.decode(json.dumps({"name": name, "hash": "", "pool": "p"}), type=Connector)


def test_no_two_connectors_have_one_token() -> None:
    connectors = [Connector(name=name, hash="sha256:0", pool="pool1") for name in ("edge", "prosody")]
    with pytest.raises(ValueError, match="edge and prosody have one token: give each its own"):
        by_hash(connectors)
