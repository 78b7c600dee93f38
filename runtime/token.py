"""Bearer tokens. A service keeps only their hashes."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Annotated, Final, TypeVar

import msgspec

from contract.domain import parse_domain
from contract.policy import ANY_DOMAIN
from runtime.current_request import note_caller, note_unknown

CONNECTOR_NAME: Final = r"^[^:/\x00-\x20\x7f]{1,64}$"
"""A connector's name: without a colon, which ends it in the key of a conversation."""
PRINCIPAL_NAME: Final = r"^(?=.*\S)[^\x00-\x1f\x7f]{1,200}$"
"""A principal's name, as the audit trail shows it: one line, with something to see."""


class Connector(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True):
    """A chat system that may hand IMs to a front end."""

    name: Annotated[str, msgspec.Meta(pattern=CONNECTOR_NAME)]
    """Stays its own when its token changes: its conversations are filed under it."""
    hash: str
    pool: str
    domains: frozenset[str] = frozenset()
    """As in ``contract.policy.ConnectorRights``; count while policy does not name this connector."""
    gateway_for: frozenset[str] = frozenset()
    """Likewise."""
    media: bool = False
    """It carries nothing but audio and video, which are never archived."""

    def __post_init__(self) -> None:
        """Bring the domains to their canonical form. Raises DomainError."""
        for name in ("domains", "gateway_for"):
            domains = (each if each == ANY_DOMAIN else parse_domain(each) for each in getattr(self, name))
            msgspec.structs.force_setattr(self, name, frozenset(domains))


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A caller of the admin API, with roles."""

    name: Annotated[str, msgspec.Meta(pattern=PRINCIPAL_NAME)]
    """Stands in the audit trail."""
    hash: str
    roles: frozenset[str]
    """Of ``administrator``, ``compliance``, ``operator``, ``frontend``."""


def hash_token(token: str) -> str:
    """Return the hash by which a token is known: ``sha256:`` and hex.

    Tokens are 256 random bits, so a plain hash cannot be searched (no need for a slow one).
    """
    return "sha256:" + hashlib.sha256(token.encode()).hexdigest()


Caller = TypeVar("Caller", Connector, Principal)


def by_hash(callers: Iterable[Caller]) -> dict[str, Caller]:
    """Return callers by their tokens' hashes. Raises ValueError if two callers share a token."""
    found: dict[str, Caller] = {}
    for caller in callers:
        other = found.setdefault(caller.hash, caller)
        if other is not caller:
            raise ValueError(f"{other.name} and {caller.name} have one token: give each its own")
    return found


def find_caller(callers: Mapping[str, Caller], authorization: str | None) -> Caller | None:
    """Return the caller of an Authorization header, by the hash of its token; None if it is unknown.

    The request that is served notes the caller.
    """
    token = bearer_of(authorization)
    if token is None:
        return None
    token_hash = hash_token(token)
    caller = callers.get(token_hash)
    if caller is None:
        note_unknown(token_hash)
    else:
        note_caller(caller.name)
    return caller


def bearer_of(authorization: str | None) -> str | None:
    """Return the token of an Authorization header (RFC 6750), None if it carries none."""
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
