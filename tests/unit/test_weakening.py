"""A change weakens policy if and only if something is archived, told or refused no more."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations_with_replacement, product
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admin_api.policy.weakening import weakenings_of
from contract.policy import (
    ConnectorRights,
    Disclaimer,
    Flags,
    GlobalSetting,
    Policy,
    PolicySettings,
    Pool,
    decide,
)
from frontend.policy.decisions import Decisions
from frontend.policy.disclaimers import _word
from runtime.token import Connector

_DOMAINS = ["a.example", "b.example"]
_FLAGGED = [
    "sip:ann@a.example",
    "sip:bob@a.example",
    "sip:eve@b.example",
    "sip:+30210@a.example",
    "sip:+30210@b.example",
]
_OTHERS = ["sip:joe@a.example", "sip:joe@b.example", "sip:joe@partner.example", "tel:+30210", "tel:+1"]
_PEOPLE = _FLAGGED + _OTHERS


_POOLS = ("p", "q", "r")
_KINDS = ("msrp", "t140")
_NAMES = ("edge", "chat")
_FILES: tuple[tuple[frozenset[str], frozenset[str]], ...] = (
    (frozenset(), frozenset()),
    (frozenset([*_DOMAINS, "elsewhere.example"]), frozenset()),
    (frozenset(["own.example"]), frozenset("*")),
)
"""What front ends' files may say of a connector: its domains, and for whom it is a gateway."""
_SPEAKING = (
    *("sip:joe@a.example", "sip:joe@b.example", "sip:joe@partner.example"),
    *("sip:joe@elsewhere.example", "sip:joe@own.example"),
)
_SETTINGS = {*PolicySettings.__struct_fields__} - {"version", "stamp", "since"}
_FIELDS = sorted({*_SETTINGS, "users"})


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    domains = draw(st.frozensets(st.sampled_from(_DOMAINS)))
    settings = st.builds(
        Pool,
        name=st.sampled_from(_POOLS[:2]),
        archive=st.booleans(),
        critical=st.booleans(),
        archive_all_group=st.booleans(),
        unseen_media=st.lists(st.sampled_from(_KINDS), unique=True).map(tuple),
    )
    disclaimer = st.builds(
        Disclaimer,
        enabled=st.booleans(),
        language=st.sampled_from(["en", "de"]),
        wordings=st.fixed_dictionaries(
            {"en": st.sampled_from(["archived", "-"]), "de": st.just("archiviert")}
        ),
        partners=st.dictionaries(st.just("partner.example"), st.sampled_from(["en", "de"])),
    )
    gateways = st.frozensets(st.sampled_from([*_DOMAINS, "partner.example", "*"]), max_size=2)
    rights = st.tuples(st.frozensets(st.sampled_from(_DOMAINS)), gateways)
    named = draw(st.dictionaries(st.sampled_from(_NAMES), rights, max_size=2))
    fields = {
        "internal": draw(st.sampled_from(GlobalSetting)),
        "federated": draw(st.sampled_from(GlobalSetting)),
        "domains": domains,
        "pools": tuple(draw(st.lists(settings, max_size=2, unique_by=attrgetter("name")))),
        "disclaimer": draw(disclaimer),
        "cdr": draw(st.booleans()),
        "connectors": tuple(
            ConnectorRights(name=name, domains=own & domains, gateway_for=gateway_for)
            for name, (own, gateway_for) in named.items()
        ),
    }
    assert fields.keys() == _SETTINGS, "a field that no change here varies"
    return Policy(
        PolicySettings(version=1, since=0, **fields),
        users=draw(st.dictionaries(st.sampled_from(_FLAGGED), st.integers(1, 3), max_size=3)),
    )


def policy(**fields: Any) -> Policy:
    """Return a policy that archives everything, but for some settings."""
    settings = PolicySettings(
        version=1,
        since=0,
        internal=GlobalSetting.EVERYONE,
        federated=GlobalSetting.EVERYONE,
        domains=frozenset(_DOMAINS),
        pools=(),
    )
    return change(Policy(settings, users={}), fields)


def change(policy: Policy, fields: Mapping[str, Any]) -> Policy:
    """Return a policy with other settings, or other users."""
    settings = {name: value for name, value in fields.items() if name in _SETTINGS}
    return Policy(msgspec.structs.replace(policy.settings, **settings), fields.get("users", policy.users))


Words = frozenset[tuple[str, str, str]]


def fates(policy: Policy) -> Iterator[tuple[bool, Words]]:
    """Yield of every IM of up to three of some people of every sort: is it archived, and who is told what?"""
    for pool in _POOLS:
        for count in (2, 3):
            for sender, *recipients in combinations_with_replacement(_PEOPLE, count):
                decision = decide(policy, pool=pool, sender=sender, recipients=recipients)
                words: Words = frozenset()
                if policy.settings.disclaimer.enabled and decision.archive and decision.scope == "federated":
                    im: Any = SimpleNamespace(sender=sender, recipients=recipients)
                    words = frozenset((each.to, each.language, each.text) for each in _word(im, policy))
                yield decision.archive, words


def refusals(policy: Policy) -> Iterator[bool]:
    """Yield of every connector, sender and recipient, whatever front ends' files say: is that refused?"""
    for name, (domains, gateway_for) in product([*_NAMES, "another"], _FILES):
        connector = Connector(name=name, hash=name, pool="p", domains=domains, gateway_for=gateway_for)
        decisions = Decisions("p", [connector])
        for sender, recipient in product(_SPEAKING, repeat=2):
            yield bool(decisions.refusal_of(policy, sender, [recipient], connector))


Look = tuple[Sequence[tuple[bool, Words]], Sequence[bool]]


def look_at(policy: Policy) -> Look:
    return list(fates(policy)), list(refusals(policy))


def is_weaker(before: Policy, after: Policy, was: Look, now: Look) -> bool:
    """Compare all that front ends do by two policies."""
    return (
        any(old > new or told - told_now for (old, told), (new, told_now) in zip(was[0], now[0], strict=True))
        or any(old > new for old, new in zip(was[1], now[1], strict=True))
        or any(before.pool(pool).critical > after.pool(pool).critical for pool in _POOLS)
        or any(set(after.pool(pool).unseen_media) - {*before.pool(pool).unseen_media} for pool in _POOLS)
        or before.settings.disclaimer.enabled > after.settings.disclaimer.enabled
        or before.cdr > after.cdr
    )


@settings(max_examples=60, deadline=None)
@given(policies(), policies(), st.sets(st.sampled_from(_FIELDS), min_size=1, max_size=3))
def test_a_change_weakens_if_and_only_if_something_is_lost(
    one: Policy, other: Policy, fields: set[str]
) -> None:
    # Of policies that share nothing nearly each weakens the other: only some fields change.
    others = msgspec.structs.asdict(other.settings) | {"users": other.users}
    two = change(one, {name: others[name] for name in fields})
    by_one, by_two = look_at(one), look_at(two)
    assert bool(weakenings_of(one, two)) == is_weaker(one, two, by_one, by_two)
    assert bool(weakenings_of(two, one)) == is_weaker(two, one, by_two, by_one)
    assert not weakenings_of(one, one)


_OFF = policy(pools=(Pool(name="p", archive=False),))
_FLAGGED_ANN = policy(internal=GlobalSetting.PER_USER, users={"sip:ann@a.example": Flags.INTERNAL})


def _speaks(*domains: str, gateway_for: str = "") -> Policy:
    """Return a policy that says whom the connector edge speaks for; chat speaks for all of ours."""
    edge = ConnectorRights(
        name="edge", domains=frozenset(domains), gateway_for=frozenset(gateway_for.split())
    )
    chat = ConnectorRights(name="chat", domains=frozenset(_DOMAINS))
    return policy(connectors=(edge, chat))


def _tells(**fields: Any) -> Policy:
    wordings = {"en": "This is archived.", "de": "Dies wird archiviert."}
    disclaimer = msgspec.structs.replace(Disclaimer(enabled=True, wordings=wordings), **fields)
    return policy(domains=frozenset(["a.example"]), disclaimer=disclaimer)


@pytest.mark.parametrize(
    ("stronger", "weaker"),
    [
        (policy(), policy(internal=GlobalSetting.NONE)),
        (policy(), policy(federated=GlobalSetting.PER_USER)),
        (_FLAGGED_ANN, policy(internal=GlobalSetting.PER_USER)),
        (policy(), _OFF),
        (policy(pools=(Pool(name="p", critical=True),)), policy()),
        (policy(), policy(pools=(Pool(name="p", unseen_media=("msrp",)),))),
        (policy(disclaimer=Disclaimer(enabled=True)), policy()),
        (policy(), policy(cdr=False)),
        (policy(), policy(domains=frozenset(["a.example"]))),
        (_speaks("a.example"), _speaks("a.example", "b.example")),
        (_speaks("a.example"), _speaks("a.example", gateway_for="*")),
    ],
)
def test_what_weakens_one_way_does_not_weaken_the_other(stronger: Policy, weaker: Policy) -> None:
    assert weakenings_of(stronger, weaker)
    assert not weakenings_of(weaker, stronger)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (_tells(), _tells(wordings={"en": "Hello."})),
        (_tells(), _tells(partners={"partner.example": "de"})),
        (_tells(), change(_tells(), {"domains": frozenset(_DOMAINS)})),  # partners become ours
        (_speaks("a.example"), policy()),  # what files say counts again
        (policy(), _speaks("a.example")),
    ],
)
def test_what_may_be_either_counts_as_weaker(before: Policy, after: Policy) -> None:
    assert weakenings_of(before, after)
