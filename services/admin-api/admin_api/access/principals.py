"""Principals: the bearers of tokens, and the role in which each makes a request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import msgspec
from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from admin_api.access.roles import ROLES, Role
from runtime.problem import Problem
from runtime.token import Principal, bearer_of, by_hash, find_caller


@dataclass(frozen=True)
class Actor:
    """The maker of a request, and the role that allows it."""

    name: str
    role: Role


def load_principals(path: Path) -> dict[str, Principal]:
    """Return the principals of a file by their tokens' hashes.

    Raises OSError, or ValueError if the file isn't a list of principals, each with a name, a token of its
    own, and known roles (msgspec's errors are ValueErrors).
    """
    principals = msgspec.json.decode(path.read_bytes(), type=list[Principal])
    for principal in principals:
        unknown = principal.roles - ROLES.keys()
        if unknown:
            raise ValueError(f"{principal.name} has unknown roles: {', '.join(sorted(unknown))}")
    return by_hash(principals)


def find_principal(principals: Mapping[str, Principal], authorization: str | None) -> Principal:
    """Return the principal whose token an Authorization header holds. Raises Problem (401)."""
    if bearer_of(authorization) is None:
        raise _unknown("Send a token: Authorization: Bearer …", "Bearer")
    principal = find_caller(principals, authorization)
    if principal is None:
        raise _unknown("This token is not known here.", 'Bearer error="invalid_token"')
    return principal


def _unknown(detail: str, challenge: str) -> Problem:
    return Problem(401, detail, headers={"WWW-Authenticate": challenge})


BEARER: Final = Security(
    HTTPBearer(
        auto_error=False,
        description="A token (RFC 6750). Roles: "
        + "; ".join(f"**{role}** {what}" for role, what in ROLES.items()),
    )
)
"""Names the token in the OpenAPI document; ``admission.Admit`` reads it."""


def choose_role(principal: Principal, roles: Sequence[Role]) -> Actor:
    """Return a principal in the first of some roles that it has. Raises Problem (403)."""
    for role in roles:
        if role in principal.roles:
            return Actor(principal.name, role)
    raise Problem(403, f"This needs the role {' or '.join(roles)}; {principal.name} has not.")


def _actor_of(request: Request) -> Actor:
    actor: Actor = request.state.actor
    return actor


ActorDep = Annotated[Actor, Depends(_actor_of)]
"""The caller, as admission let it in."""
