"""The second witness: a front end tells the admin API how far its agents got, beside the queue."""

from typing import Any
from uuid import UUID

import msgspec


class AgentNumbers(msgspec.Struct, frozen=True):
    """How far an archiving agent got."""

    agent: UUID
    confirmed: int
    """The broker has confirmed the IMs up to this number."""
    ended: bool = False
    """The agent numbers no more IMs."""


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """The agents that a front end knows, its own and adopted ones: ``POST /v1/front-ends/{name}/numbers``."""

    pool: str
    numbers: list[AgentNumbers]


class Noted(msgspec.Struct, frozen=True):
    """The answer. The first released admin API answers nothing."""

    incarnation: UUID
    """The archive's; another one once it was restored. Then ended agents are told again."""


def schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON schemas by name; golden copies are in contract/schemas/."""
    return {
        "lcs.numbers.v1": msgspec.json.schema(Numbers),
        "lcs.numbers-answer.v1": msgspec.json.schema(Noted),
    }
