"""Snapshots of policy, as front ends fetch and keep them: a line of settings, then a line for each user."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from contract.policy import PolicySettings, PolicyUser

_encoder = msgspec.json.Encoder(order="deterministic")
_settings = msgspec.json.Decoder(PolicySettings)
_users = msgspec.json.Decoder(PolicyUser)
_SCHEMAS: Final = {"lcs.policy.v1": PolicySettings, "lcs.policy-user.v1": PolicyUser}


def encode_settings(settings: PolicySettings) -> bytes:
    """Return the first line without its end. Equal settings give equal bytes."""
    return _encoder.encode(settings)


def encode_users(users: Iterable[PolicyUser]) -> bytes:
    """Return the lines of users."""
    return _encoder.encode_lines(users)


def decode_settings(line: bytes) -> PolicySettings:
    """Return the settings of a first line. Raises msgspec.DecodeError."""
    return _settings.decode(line)


def decode_users(lines: bytes) -> list[PolicyUser]:
    """Return the users of whole lines. Raises msgspec.DecodeError."""
    return _users.decode_lines(lines)


def schemas() -> dict[str, Any]:
    """Return the JSON schemas of the lines by name; the golden ones are in ``contract/schemas``."""
    return {name: msgspec.json.schema(struct) for name, struct in _SCHEMAS.items()}
