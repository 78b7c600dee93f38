"""Users of front ends at the broker: their names say of which pool they are."""

from typing import Final, NamedTuple

SEPARATOR: Final = "~"
"""Stands in no pool's name, and needs no escape in an address."""
_FRONT_END: Final = "frontend"


class FrontEndUser(NamedTuple):
    """A front end's user by its parts, from a name such as ``frontend~pool1`` or ``frontend~pool1~fe1``."""

    pool: str
    front_end: str = ""
    """Empty if the pool's front ends share the user."""

    @property
    def name(self) -> str:
        """The user's name."""
        return SEPARATOR.join(part for part in (_FRONT_END, *self) if part)


def read_front_end_user(name: str) -> FrontEndUser | None:
    """Return the front end, or its pool, that a user's name tells; None if the user is no front end's."""
    kind, *rest = name.split(SEPARATOR, 2)
    return FrontEndUser(*rest) if kind == _FRONT_END and rest and all(rest) else None
