"""The rules of who is archived, against the table they come from."""

from itertools import product

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.address import domain_of
from contract.policy import (
    RULES,
    SAFE_SIDE_RULES,
    Decision,
    Flags,
    GlobalSetting,
    Policy,
    PolicySettings,
    Pool,
    decide,
)

OURS = ["sip:a@ours.com", "sip:b@ours.com", "sip:c@also.ours.com"]
THEIRS = ["sip:x@partner.com", "sip:y@public.im"]

people = st.sampled_from(OURS + THEIRS)
policies = st.builds(
    Policy,
    st.builds(
        PolicySettings,
        version=st.integers(1, 9),
        since=st.just(0),
        internal=st.sampled_from(GlobalSetting),
        federated=st.sampled_from(GlobalSetting),
        domains=st.just(frozenset({"ours.com", "also.ours.com"})),
        pools=st.tuples(
            st.builds(Pool, name=st.just("pool1"), archive=st.booleans(), archive_all_group=st.booleans())
        ),
    ),
    users=st.dictionaries(people, st.integers(0, 3)),
)


@given(policies, people, st.lists(people, min_size=1, max_size=4))
def test_decisions_are_those_of_the_table(policy: Policy, sender: str, recipients: list[str]) -> None:
    decision = decide(policy, pool="pool1", sender=sender, recipients=recipients)

    everyone = [sender, *recipients]
    federated = any(person in THEIRS for person in everyone)
    setting = policy.settings.federated if federated else policy.settings.internal
    flag = Flags.FEDERATED if federated else Flags.INTERNAL
    flagged = any(policy.users.get(person, 0) & flag for person in everyone if person in OURS)
    by_rule = setting is GlobalSetting.EVERYONE or (setting is GlobalSetting.PER_USER and flagged)
    by_group = policy.pool("pool1").archive_all_group and len(recipients) > 1
    assert decision.archive == (policy.pool("pool1").archive and (by_group or by_rule))
    assert decision.scope == ("federated" if federated else "internal")
    assert decision.version == policy.settings.version
    assert decision.rule in RULES


@given(policies, people, people)
def test_a_foreign_persons_flags_never_count(policy: Policy, sender: str, recipient: str) -> None:
    theirs = {person: flags for person, flags in policy.users.items() if person in THEIRS}
    policy = msgspec.structs.replace(policy, users=theirs)
    decision = decide(policy, pool="pool1", sender=sender, recipients=[recipient])
    assert not decision.rule.endswith("-user") or decision.rule.endswith("no-user")


@given(policies, st.permutations([OURS[0], OURS[1], THEIRS[0]]))
def test_who_of_the_participants_speaks_makes_no_difference(policy: Policy, group: list[str]) -> None:
    first = decide(policy, pool="pool1", sender=group[0], recipients=group[1:])
    assert first == decide(policy, pool="pool1", sender=group[2], recipients=group[:2])


def test_what_a_connector_of_audio_and_video_hands_over_is_never_archived() -> None:
    for policy in (None, _policy(GlobalSetting.EVERYONE)):
        decision = decide(policy, pool="pool1", sender=OURS[0], recipients=OURS[1:], media=True)
        assert not decision.archive
        assert decision.rule == "media-never"


def test_without_a_policy_everything_is_archived() -> None:
    decision = decide(
        None, pool="pool1", sender=OURS[0], recipients=[OURS[1]], domains=frozenset({"ours.com"})
    )
    assert decision == Decision(True, "no-policy", "internal", 0)


def test_a_pool_nobody_configured_has_the_defaults() -> None:
    policy = _policy(GlobalSetting.EVERYONE)
    assert decide(policy, pool="new", sender=OURS[0], recipients=[OURS[1]]).archive
    assert policy.pool("new") == Pool(name="new")


def test_every_rule_has_a_name_that_decides() -> None:
    met = set()
    group = [*OURS, *THEIRS]
    for internal, federated, flags, pool in product(GlobalSetting, GlobalSetting, (0, 3), _pools()):
        settings = PolicySettings(
            version=1, since=0, internal=internal, federated=federated, pools=(pool,),
            domains=frozenset(map(domain_of, OURS)),
        )  # fmt: skip
        policy = Policy(settings, {OURS[0]: flags})
        for recipients in ([OURS[1]], [THEIRS[0]], group):
            met.add(decide(policy, pool="pool1", sender=OURS[0], recipients=recipients).rule)
    assert met == set(RULES) - {"no-policy", "media-never"}


def _policy(setting: GlobalSetting) -> Policy:
    settings = PolicySettings(
        version=1, since=0, internal=setting, federated=setting, domains=frozenset({"ours.com"}), pools=()
    )
    return Policy(settings, users={})


def _pools() -> list[Pool]:
    return [
        Pool(name="pool1", archive=archive, archive_all_group=group)
        for archive, group in product((False, True), repeat=2)
    ]


@pytest.mark.parametrize("rule", SAFE_SIDE_RULES)
@given(policies, st.booleans())
def test_on_the_safe_side_everything_is_archived_and_critical(rule: str, policy: Policy, media: bool) -> None:
    policy = msgspec.structs.replace(policy, safe_side=rule)
    decision = decide(policy, pool="pool1", sender=OURS[0], recipients=OURS[1:], media=media)
    assert decision == Decision(not media, "media-never" if media else rule, decision.scope, 0)
    assert policy.pool("pool1").critical
    assert not policy.pool("pool1").unseen_media
