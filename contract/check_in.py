"""The check-in: a front end tells the admin API how it is, and is told which policy counts."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec


class CheckIn(msgspec.Struct, frozen=True, kw_only=True):
    """How a front end is: ``POST /v1/front-ends/{name}/check-in``.

    The first released admin API knows the fields up to ``since`` and refuses more.
    """

    pool: str
    agent: UUID
    version: int
    """Of the policy that it runs; 0: none."""
    state: str
    since: datetime | None = None
    """Since when it has been in this state."""
    process: UUID | None = None
    """Another one for each start; None: ``agent`` stands for it."""
    stamp: UUID | None = None
    """Of its version."""
    digest: str | None = None
    """Of the policy that it holds, once it has made one: ``contract.policy_digest``."""


FIRST_FIELDS = ("pool", "agent", "version", "state", "since")
"""Fields that every released admin API takes."""


class CheckInAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The policy that counts."""

    version: int
    stamp: UUID | None = None
    """None: the admin API is older than stamps."""
    anew: bool = False
    """The policy that the front end holds is not the one that its version names."""
    namesakes: int = 0
    """Other front ends that run under its name."""


def schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON schemas by name; golden copies are in contract/schemas/."""
    return {
        "lcs.check-in.v1": msgspec.json.schema(CheckIn),
        "lcs.check-in-answer.v1": msgspec.json.schema(CheckInAnswer),
    }
