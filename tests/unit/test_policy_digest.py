"""The digest of a policy: what it depends on, and what it doesn't."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from contract.policy import ConnectorRights, GlobalSetting, PolicySettings, Pool
from contract.policy_digest import digest_of, sum_of

_names = st.sampled_from(["sip:ada@x.y", "sip:ad@x.y", "sip:\u00e9 %0a@x.y", "sip:+1@[::1]"])
_people = st.dictionaries(_names, st.integers(1, 3))


@given(_people)
def test_a_digest_does_not_depend_on_the_order_and_tells_flags_apart(people: dict[str, int]) -> None:
    total = sum_of(people.items())
    assert total == sum_of(reversed(people.items()))
    for address, flags in people.items():
        assert sum_of((people | {address: flags % 3 + 1}).items()) != total


def test_a_digest_is_made_as_its_form_says() -> None:
    """Whoever changes the header or the sum takes another ``FORM``: digests of two forms are not compared."""
    settings = PolicySettings(
        version=7,
        stamp=UUID(int=7),
        since=0,
        internal=GlobalSetting.NONE,
        federated=GlobalSetting.EVERYONE,
        domains=frozenset({"contoso.com", "litware.com"}),
        pools=(Pool(name="b"), Pool(name="a", unseen_media=("msrp",))),
        connectors=(ConnectorRights(name="c", domains=frozenset({"x", "y"})),),
    )
    expected = "1:b24cc197ca5a1bcea406f1dbfa296132b19f51b9078e0f487a6bd585680b8744"
    assert digest_of(settings, sum_of([("sip:a@contoso.com", 1)])) == expected
