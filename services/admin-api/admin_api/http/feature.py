"""A feature of the API: its routes, and everything that it needs of the application, in one value."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from admin_api.config import AdminSettings
from admin_api.database import Database

Endpoint = Callable[..., Any]
Limits = Mapping[Endpoint, int]
"""Bytes of a body, by the endpoint that takes it."""
Parts = Mapping[str, object]
"""Objects that live as long as the service, by their names in ``app.state``."""


def _make_nothing(_: AdminSettings, __: Database) -> Parts:
    return {}


def _limit_nothing(_: AdminSettings) -> Limits:
    return {}


@dataclass(frozen=True)
class Feature:
    """The value ``feature`` of a feature's package; ``app.FEATURES`` names the packages."""

    tags: Mapping[str, str]
    """Description of each tag in the OpenAPI document."""
    routers: Sequence[APIRouter]
    """Routes are matched in this order."""
    make_parts: Callable[[AdminSettings, Database], Parts] = _make_nothing
    """Makes the feature's parts; their database has sessions beside all requests. A part that has a coroutine
    ``run()`` is run until the service ends.
    """
    limit_bodies: Callable[[AdminSettings], Limits] = _limit_nothing
    """Returns the limits of endpoints that take larger bodies than others."""
    placeless: frozenset[Endpoint] = frozenset()
    """Endpoints that hold neither a session nor a thread, and so need no place in a bulkhead."""
    is_open: bool = False
    """True: requests need no token."""


def _settings_of(request: Request) -> AdminSettings:
    settings: AdminSettings = request.app.state.settings
    return settings


SettingsDep = Annotated[AdminSettings, Depends(_settings_of)]
