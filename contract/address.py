"""Addresses of participants: SIP URIs, compared the way Office Communications Server compares them."""

import re
from functools import lru_cache

MAX_LENGTH = 454
"""Characters of a canonical address at most: the limit that OCS 2007 R2 sets on a SIP URI."""
_MAX_TEXT = 1024
"""And with all that belongs to a URI: so long is what is remembered."""

_ADDRESS = re.compile(
    r"(?:sips?:)?"
    r"(?P<user>[^\s@:<>\"\x00-\x1f\x7f\\]+)@"
    r"(?P<host>(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*|\[[0-9a-f:.]+\])"
    r"(?::[0-9]{1,5})?(?:[;?].*)?",
    re.DOTALL,
)


class AddressError(ValueError):
    """An address that is not a SIP URI; the text says what is wrong with it."""


@lru_cache(maxsize=1 << 18)
def parse_address(text: str) -> str:
    """Return the address of record in canonical form: ``sip:user@host``, lower case.

    ``sip:`` is optional on input, ``sips:`` means the same person; port, parameters and headers are
    not part of an address of record (RFC 3261, 10.2). The user part is compared without regard to
    case, as OCS does (RFC 3261, 19.1.4 would tell cases apart).

    Raises AddressError.
    """
    if len(text) > _MAX_TEXT:
        raise AddressError(f"{text[:80]!r}… has {len(text)} characters, at most {_MAX_TEXT} are allowed")
    # "ẞ".lower() and the like may change under a second lower(): casefold would merge people.
    lowered = text.strip().lower()
    match = _ADDRESS.fullmatch(lowered)
    if match is None:
        scheme, colon, _ = lowered.partition(":")
        if colon and "@" not in scheme and scheme not in ("sip", "sips"):
            raise AddressError(f"unknown scheme {scheme[:32]!r}: write sip:user@domain")
        raise AddressError(f"{text[:80]!r} is not a SIP address: write sip:user@domain")
    address = f"sip:{match['user']}@{match['host']}"
    if len(address) > MAX_LENGTH:
        raise AddressError(f"address has {len(address)} characters, at most {MAX_LENGTH} are allowed")
    return address


def domain_of(address: str) -> str:
    """Return the domain of a canonical address."""
    return address[address.rindex("@") + 1 :]
