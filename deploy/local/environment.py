"""Settings (``LCS_…``) of the environment that a local stack hands on to its services."""

import difflib
from collections.abc import Mapping
from typing import Final

from admin_api.config import AdminSettings
from archiving.config import CDRSettings, WorkerSettings
from deploy.local.process import StartError
from frontend.config import FrontEndSettings
from runtime.settings import ServiceSettings

SERVICES: Final[Mapping[str, type[ServiceSettings]]] = {
    "frontend": FrontEndSettings,
    "archiving": WorkerSettings,
    "cdr": CDRSettings,
    "admin-api": AdminSettings,
}
_EDGE: Final = frozenset(
    f"LCS_SIP_{name}"
    for name in (
        *("ADVERTISED", "PARTNERS", "CERTIFICATE", "KEY", "AUTHORITIES", "TRUSTED"),
        *("TIMEOUT_MILLISECONDS", "MAX_BYTES", "SHOW_ARCHIVED"),
    )
)
_PORTS: Final = {
    "LCS_PORT": "fe1",
    "LCS_ADMIN_PORT": "admin-api",
    "LCS_SIP_PORT": "edge",
    "LCS_SIP_WEBSOCKET_PORT": "edge-websocket",
}
"""Ports that a person may choose, as with Compose, and the part of the stack that listens there."""
_HEEDED: Final = frozenset(("LCS_AMQP_URL", "LCS_DATABASE_URL", "LCS_CONNECTOR_DOMAINS", *_PORTS))
"""By the stack itself."""
_OURS: Final = frozenset(
    f"LCS_{name}"
    for name in (
        *("HOST", "SECRETS_DIR", "STATE_DIR", "POOL", "FRONT_END", "CONNECTORS_FILE"),
        *("PRINCIPALS_FILE", "ADMIN_API_URL", "ADMIN_API_TOKEN"),
        *("SIP_HOOK", "SIP_DOMAINS", "SIP_HOST", "SIP_TLS_PORT"),
        *("SIP_METRICS_PORT", "SIP_RUN_DIR"),
    )
)
"""Settings that the stack sets, before the environment's."""


def settings_for(service: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment's settings for a service of ``SERVICES``, or for the ``edge``."""
    known = _EDGE if service == "edge" else _names_of(service)
    return {name: environment[name] for name in sorted((known - _HEEDED - _OURS) & environment.keys())}


def ports_asked_for(environment: Mapping[str, str]) -> dict[str, int]:
    """Return the ports that the environment names, by the part that listens. Raises StartError."""
    ports = {}
    for name in sorted(_PORTS.keys() & environment.keys()):
        value = environment[name]
        if not (value.isascii() and value.isdecimal() and 0 < int(value) < 65_536):
            raise StartError(f"{name} is {value!r}: a port is a number from 1 to 65535")
        ports[_PORTS[name]] = int(value)
    return ports


def describe(environment: Mapping[str, str]) -> list[str]:
    """Return a line for each setting of the environment: the parts that get it, or why none does."""
    handed_on: dict[str, list[str]] = {}
    for service in (*SERVICES, "edge"):
        for name in settings_for(service, environment):
            handed_on.setdefault(name, []).append(service)
    return [
        f"{name} {_fate_of(name, handed_on.get(name, []))}"
        for name in sorted(environment)
        if name.startswith("LCS_") and name not in _HEEDED
    ]


def _fate_of(name: str, services: list[str]) -> str:
    if services:
        return f"goes to {', '.join(services)}"
    if name in _OURS:
        return "is not heeded: the stack sets it itself"
    known = {known for service in SERVICES for known in _names_of(service)} | _EDGE | _HEEDED
    close = difflib.get_close_matches(name, sorted(known - _OURS), 1, 0.8)
    return f"is no setting of the local stack{f': {close[0]}?' if close else ''}"


def _names_of(service: str) -> frozenset[str]:
    return frozenset(f"LCS_{name.upper()}" for name in SERVICES[service].model_fields)
