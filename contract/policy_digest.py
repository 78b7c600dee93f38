"""A digest of a whole policy: front end and admin API have the same if they hold the same."""

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec

from contract.policy import Policy, header_of

FORM: Final = "1"
"""Goes before a digest. Another header or another sum is another form; two forms are never compared."""

_MODULUS: Final = 1 << 64
_encoder = msgspec.json.Encoder(order="deterministic")


def sum_of(users: Iterable[tuple[str, int]]) -> int:
    """Return the sum of users' addresses and flags, in whatever order they come.

    Of each the first 64 bits of the SHA-256 of ``address flags``: the database adds them up alike.
    """
    return sum(
        int.from_bytes(hashlib.sha256(f"{address} {flags}".encode()).digest()[:8]) for address, flags in users
    )


def digest_of(policy: Policy, users: int) -> str:
    """Return the digest of a policy; ``users`` is the sum of all who have flags."""
    digest = hashlib.sha256(_encoder.encode(header_of(policy)))
    digest.update((users % _MODULUS).to_bytes(8))
    return f"{FORM}:{digest.hexdigest()}"
