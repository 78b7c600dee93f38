"""Senders: the pool of the front end that sent a message, on the broker's word.

A front end names its user in each message (``user_id``), and the broker takes no message that names another
(https://www.rabbitmq.com/docs/validated-user-id). The user's name tells the pool. So a user of one pool can
archive nothing as of another.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Self

from pika.spec import BasicProperties

from contract.broker_users import FrontEndUser, read_front_end_user

ANONYMOUS: Final = (
    "it has no user_id: a front end of an earlier version sent it, or somebody who does not say who he is;"
    " vouch for it only if you know that such a front end ran"
)


class Senders:
    """The broker's users that may send, and the pools they may send for."""

    def __init__(self, users: Mapping[str, str], *, trust_anonymous: bool) -> None:
        """``users``: those that are named otherwise than after their pool, each with its pool."""
        self._users = users
        self._trust_anonymous = trust_anonymous

    def vouched(self) -> Self:
        """Return senders that also take messages without a user: a person vouches for them."""
        return type(self)(self._users, trust_anonymous=True)

    def refusal_of(self, properties: BasicProperties, pools: Iterable[str], front_end: str = "") -> str:
        """Return why a message for these pools and, maybe, a front end is refused; empty if it is taken."""
        user = properties.user_id
        if user is None:
            return "" if self._trust_anonymous else ANONYMOUS
        named = self._users.get(user)
        known = FrontEndUser(named) if named is not None else read_front_end_user(user)
        if known is None:
            return f"the broker's user {user!r} is no front end's"
        for pool in pools:
            if pool != known.pool:
                return f"the broker's user {user!r} is of pool {known.pool!r}, not of {pool!r}"
        if front_end and known.front_end not in ("", front_end):
            return f"the broker's user {user!r} is of front end {known.front_end!r}, not of {front_end!r}"
        return ""
