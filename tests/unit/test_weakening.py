"""A change weakens policy if and only if an IM was archived before it that would not be after it."""

from itertools import combinations_with_replacement

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contract.policy import Disclaimer, Flags, GlobalSetting, Policy, Pool, decide
from contract.weakening import weakenings_of

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


def _pools(switches: dict[str, tuple[bool, bool]]) -> dict[str, Pool]:
    return {
        name: Pool(name=name, archive=archive, archive_all_group=archive_all_group)
        for name, (archive, archive_all_group) in switches.items()
    }


switches = st.tuples(st.booleans(), st.booleans())
pools = st.dictionaries(st.sampled_from(["p", "q"]), switches, max_size=2).map(_pools)
policies = st.builds(
    Policy,
    version=st.just(1),
    internal=st.sampled_from(GlobalSetting),
    federated=st.sampled_from(GlobalSetting),
    domains=st.frozensets(st.sampled_from(_DOMAINS)),
    pools=pools,
    users=st.dictionaries(st.sampled_from(_FLAGGED), st.integers(1, 3), max_size=3),
)


def policy(**fields: object) -> Policy:
    """Return a policy that archives everything, but for some settings."""
    usual: dict[str, object] = {
        "version": 1,
        "internal": GlobalSetting.EVERYONE,
        "federated": GlobalSetting.EVERYONE,
        "domains": frozenset(_DOMAINS),
        "pools": {},
        "users": {},
    }
    return Policy(**usual | fields)  # type: ignore[arg-type]  # a test's own settings


def is_archived_less(before: Policy, after: Policy) -> bool:
    """Try every IM of up to three of some people of every sort, in every pool."""
    return any(
        decide(before, pool=pool, sender=people[0], recipients=people[1:]).archive
        and not decide(after, pool=pool, sender=people[0], recipients=people[1:]).archive
        for pool in ("p", "q", "r")
        for count in (2, 3)
        for people in combinations_with_replacement(_PEOPLE, count)
    )


@settings(max_examples=60, deadline=None)
@given(policies, policies)
@example(policy(), policy(internal=GlobalSetting.PER_USER))
@example(
    policy(internal=GlobalSetting.NONE, domains=frozenset()), policy(internal=GlobalSetting.NONE)
)  # a domain that becomes ours
def test_a_change_weakens_if_and_only_if_an_im_is_archived_no_more(before: Policy, after: Policy) -> None:
    assert bool(weakenings_of(before, after)) == is_archived_less(before, after)
    assert not weakenings_of(before, before)


_OFF = policy(pools={"p": Pool(name="p", archive=False)})
_FLAGGED_ANN = policy(internal=GlobalSetting.PER_USER, users={"sip:ann@a.example": Flags.INTERNAL})


@pytest.mark.parametrize(
    ("stronger", "weaker"),
    [
        (policy(), policy(internal=GlobalSetting.NONE)),
        (policy(), policy(federated=GlobalSetting.PER_USER)),
        (_FLAGGED_ANN, policy(internal=GlobalSetting.PER_USER)),
        (policy(), _OFF),
        (policy(pools={"p": Pool(name="p", critical=True)}), policy()),
        (policy(), policy(pools={"p": Pool(name="p", unseen_media=("msrp",))})),
        (policy(disclaimer=Disclaimer(enabled=True)), policy()),
        (policy(), policy(cdr=False)),
    ],
)
def test_what_weakens_one_way_does_not_weaken_the_other(stronger: Policy, weaker: Policy) -> None:
    assert weakenings_of(stronger, weaker)
    assert not weakenings_of(weaker, stronger)
