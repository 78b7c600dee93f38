"""Weighing: the policy before a change compared with the policy after it."""

from collections.abc import Iterable, Sequence

from sqlalchemy import text
from sqlmodel import Session, col, or_

from admin_api.policy.weakening import number_of, weakenings_of
from admin_api.policy.whole_policy import load_policy
from admin_api.tables.policy import PolicyRow, UserRow
from contract.policy import Policy

# One of all that a change of others, or of anything but users, treats alike.
_ALIKE = text("""
SELECT min(address) FROM policy.users WHERE archive_internal OR archive_federated
GROUP BY split_part(address, '@', 2), archive_internal, archive_federated, address LIKE 'sip:+%'
""")


class Weighing:
    """A comparison that begins before anything is changed."""

    def __init__(self, session: Session, users: Iterable[str] | None = None) -> None:
        """``users``: an address of each kind that the change concerns; None: it is no change of users.

        A number that becomes ours, or is ours no longer, counts for others' IMs with it, so they are weighed
        too.
        """
        self._session = session
        addresses = list(users or ())
        if users is None or any(map(number_of, addresses)):
            addresses += session.connection().execute(_ALIKE).scalars()
        numbers = {number for address in addresses if (number := number_of(address))}
        self._users = or_(
            col(UserRow.address).in_(addresses),
            *(col(UserRow.address).startswith(f"sip:{number}@", autoescape=True) for number in numbers),
        )
        self._before = self._load()

    def _load(self) -> Policy:
        return load_policy(self._session, self._users)

    def weakenings(self) -> Sequence[str]:
        """Return the weakenings of the change, once it is made."""
        return weakenings_of(self._before, self._load())


def weigh(session: Session, table: type[PolicyRow], key: str) -> Weighing:
    """Return the weighing of a change of one resource."""
    return Weighing(session, [key] if table is UserRow else None)
