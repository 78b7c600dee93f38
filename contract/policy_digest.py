"""A digest of a whole policy: front end and admin API have the same if they hold the same."""

import hashlib
from collections.abc import Iterable
from typing import Final

from contract.policy import PolicySettings
from contract.snapshot import encode_settings

FORM: Final = "1"
"""Goes before a digest. Other settings or another sum is another form; two forms are never compared."""

_MODULUS: Final = 1 << 64


def sum_of(users: Iterable[tuple[str, int]]) -> int:
    """Return the sum of users' addresses and flags. Their order does not matter.

    Of each the first 64 bits of the SHA-256 of ``address flags``: the database adds them up alike.
    """
    return sum(
        int.from_bytes(hashlib.sha256(f"{address} {flags}".encode()).digest()[:8]) for address, flags in users
    )


def digest_of(settings: PolicySettings, users: int) -> str:
    """Return the digest of a whole policy; ``users`` is the ``sum_of`` all users with flags."""
    digest = hashlib.sha256(encode_settings(settings))
    digest.update((users % _MODULUS).to_bytes(8))
    return f"{FORM}:{digest.hexdigest()}"
