"""A front end's user at the broker says of which pool it is, and only that."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika.spec import BasicProperties

from archiving.senders import Senders
from contract.broker_users import FrontEndUser, read_front_end_user

pools = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="~"), min_size=1)
front_ends = st.text(st.characters(exclude_categories=["Cs"]))
users = st.builds(FrontEndUser, pools, front_ends)


@given(users)
def test_a_front_ends_user_is_read_as_it_is_named(user: FrontEndUser) -> None:
    assert read_front_end_user(user.name) == user


@given(users, pools, front_ends)
def test_a_user_speaks_for_its_own_pool_and_front_end_alone(
    user: FrontEndUser, pool: str, front_end: str
) -> None:
    senders = Senders({}, trust_anonymous=False)
    refusal = senders.refusal_of(BasicProperties(user_id=user.name), [pool], front_end)
    allowed = pool == user.pool and (not front_end or user.front_end in ("", front_end))
    assert (refusal == "") == allowed


@pytest.mark.parametrize(
    "name", ["frontend", "frontend~", "frontend~~fe1", "frontend~p~", "archiving~p", "", "~p"]
)
def test_what_is_no_front_ends_user_may_send_nothing(name: str) -> None:
    assert read_front_end_user(name) is None
    senders = Senders({}, trust_anonymous=True)
    assert "is no front end's" in senders.refusal_of(BasicProperties(user_id=name), [])


def test_a_user_whose_name_says_nothing_is_of_the_pool_that_the_settings_say() -> None:
    senders = Senders({"guest": "pool1"}, trust_anonymous=False)
    assert senders.refusal_of(BasicProperties(user_id="guest"), ["pool1"], "fe1") == ""
    assert "not of 'pool2'" in senders.refusal_of(BasicProperties(user_id="guest"), ["pool2"])
