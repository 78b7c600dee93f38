"""Who may do what: bearer tokens and the roles that go with them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from runtime.problem import Problem
from runtime.token import Principal, bearer_of, by_hash, find_caller

Role = Literal["administrator", "compliance", "operator", "frontend"]
ROLES: Final = {
    "administrator": "reads and changes policy, and reads who changed it",
    "compliance": "reads archived IMs, and reads the audit trail",
    "operator": "reads completeness, front ends and policy",
    "frontend": "a front end: fetches policy and checks in",
}


@dataclass(frozen=True)
class Actor:
    """Who makes a request, and the role that allows it."""

    name: str
    role: Role


def load_principals(path: Path) -> dict[str, Principal]:
    """Return the principals of a file by their tokens' hashes.

    Raises OSError, or ValueError (msgspec's errors are such) if the file isn't a list of principals, each
    with a name, a token of its own, and roles that there are.
    """
    principals = msgspec.json.decode(path.read_bytes(), type=list[Principal])
    for principal in principals:
        unknown = principal.roles - ROLES.keys()
        if unknown:
            raise ValueError(f"{principal.name} has unknown roles: {', '.join(sorted(unknown))}")
    return by_hash(principals)


def find_principal(principals: Mapping[str, Principal], authorization: str | None) -> Principal:
    """Return who sends an Authorization header. Raises Problem (401)."""
    if bearer_of(authorization) is None:
        raise _unknown("Send a token: Authorization: Bearer …", "Bearer")
    principal = find_caller(principals, authorization)
    if principal is None:
        raise _unknown("This token is not known here.", 'Bearer error="invalid_token"')
    return principal


def _unknown(detail: str, challenge: str) -> Problem:
    return Problem(401, detail, headers={"WWW-Authenticate": challenge})


_bearer = HTTPBearer(
    auto_error=False,
    description="A token (RFC 6750). Roles: "
    + "; ".join(f"**{role}** {what}" for role, what in ROLES.items()),
)


class Allow:
    """A dependency that gives who makes a request, if that principal has any of some roles.

    ``admission.Admit`` asks it before anybody reads the request's body.
    """

    def __init__(self, *roles: Role) -> None:
        """Of several roles that a principal has, the first named here is the one that counts."""
        self.roles = roles

    def __call__(
        self, request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
    ) -> Actor:
        """Return who makes the request."""
        return self.choose(request.state.principal)

    def choose(self, principal: Principal) -> Actor:
        """Return a principal in the first of these roles that it has. Raises Problem (403)."""
        for role in self.roles:
            if role in principal.roles:
                return Actor(principal.name, role)
        raise Problem(403, f"This needs the role {' or '.join(self.roles)}; {principal.name} has not.")


Officer = Annotated[Actor, Security(Allow("compliance"))]
"""Who may read what was said, and to whom."""
