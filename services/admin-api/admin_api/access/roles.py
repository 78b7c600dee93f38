"""Roles, and the requests that each may make: the one table that admission goes by."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

Role = Literal["administrator", "compliance", "operator", "frontend"]
ROLES: Final[Mapping[Role, str]] = {
    "administrator": "reads and changes policy, and reads its changes in the audit trail",
    "compliance": "reads archived IMs, and reads the audit trail",
    "operator": "reads completeness, front ends and policy",
    "frontend": "a front end: fetches policy and checks in",
}

_READ_POLICY: Final[Sequence[Role]] = ("administrator", "operator")
_CHANGE_POLICY: Final[Sequence[Role]] = ("administrator",)
_OPERATE: Final[Sequence[Role]] = ("operator", "compliance")
_READ_TRAIL: Final[Sequence[Role]] = ("compliance", "administrator")
_OFFICER: Final[Sequence[Role]] = ("compliance",)
_FRONT_END: Final[Sequence[Role]] = ("frontend",)

ALLOWED: Final[Mapping[tuple[str, str], Sequence[Role]]] = {
    ("GET", "/v1/policy"): _READ_POLICY,
    ("GET", "/v1/policy/global/{scope}"): _READ_POLICY,
    ("PUT", "/v1/policy/global/{scope}"): _CHANGE_POLICY,
    ("GET", "/v1/policy/pools"): _READ_POLICY,
    ("GET", "/v1/policy/pools/{name}"): _READ_POLICY,
    ("PUT", "/v1/policy/pools/{name}"): _CHANGE_POLICY,
    ("DELETE", "/v1/policy/pools/{name}"): _CHANGE_POLICY,
    ("GET", "/v1/policy/domains"): _READ_POLICY,
    ("GET", "/v1/policy/domains/{domain}"): _READ_POLICY,
    ("PUT", "/v1/policy/domains/{domain}"): _CHANGE_POLICY,
    ("DELETE", "/v1/policy/domains/{domain}"): _CHANGE_POLICY,
    ("GET", "/v1/policy/connectors"): _READ_POLICY,
    ("GET", "/v1/policy/connectors/{name}"): _READ_POLICY,
    ("PUT", "/v1/policy/connectors/{name}"): _CHANGE_POLICY,
    ("DELETE", "/v1/policy/connectors/{name}"): _CHANGE_POLICY,
    ("GET", "/v1/policy/disclaimer"): _READ_POLICY,
    ("PUT", "/v1/policy/disclaimer"): _CHANGE_POLICY,
    ("GET", "/v1/policy/cdr"): _READ_POLICY,
    ("PUT", "/v1/policy/cdr"): _CHANGE_POLICY,
    ("GET", "/v1/policy/users"): _READ_POLICY,
    ("PATCH", "/v1/policy/users"): _CHANGE_POLICY,
    ("GET", "/v1/policy/users/{address}"): _READ_POLICY,
    ("PUT", "/v1/policy/users/{address}"): _CHANGE_POLICY,
    ("DELETE", "/v1/policy/users/{address}"): _CHANGE_POLICY,
    ("GET", "/v1/policy/decision"): _READ_POLICY,
    ("GET", "/v1/policy/snapshot"): _FRONT_END,
    ("POST", "/v1/front-ends/{name}/check-in"): _FRONT_END,
    ("POST", "/v1/front-ends/{name}/numbers"): _FRONT_END,
    ("GET", "/v1/front-ends"): ("operator", "administrator"),
    ("GET", "/v1/messages"): _OFFICER,
    ("GET", "/v1/messages/changes"): _OFFICER,
    ("GET", "/v1/messages/{id}"): _OFFICER,
    ("GET", "/v1/messages/{id}/trace"): _OPERATE,
    ("POST", "/v1/disclaimers"): _FRONT_END,
    ("POST", "/v1/disclaimers/{im}/told"): _FRONT_END,
    ("DELETE", "/v1/disclaimers/{im}"): _FRONT_END,
    ("GET", "/v1/disclaimers"): _OFFICER,
    ("GET", "/v1/parked"): _OPERATE,
    ("GET", "/v1/parked/{id}"): _OFFICER,
    ("POST", "/v1/parked/replay"): _OPERATE,
    ("POST", "/v1/parked/{id}/replay"): _OPERATE,
    ("POST", "/v1/parked/{id}/discard"): _OFFICER,
    ("GET", "/v1/completeness"): _OPERATE,
    ("POST", "/v1/completeness/{agent}/disown"): ("operator",),
    ("POST", "/v1/completeness/{agent}/own"): ("operator",),
    ("GET", "/v1/audit"): _READ_TRAIL,
    ("GET", "/v1/audit/{id}/changes"): _READ_TRAIL,
    ("GET", "/v1/cdr"): _OFFICER,
    ("GET", "/v1/cdr/csv"): _OFFICER,
    ("GET", "/v1/cdr/attempts"): _OFFICER,
    ("GET", "/v1/cdr/reconciliation"): ("compliance", "operator"),
}
"""The roles for each method and path. A principal acts in the first of them that it has.

A route without an entry keeps the service from starting, unless its feature is open.
"""
