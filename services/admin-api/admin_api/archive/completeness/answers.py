"""Completeness as the API and ``python -m admin_api completeness`` answer it."""

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field


class Totals(BaseModel):
    """Numbers of IMs. ``accepted`` = ``archived`` + ``parked`` + ``missing`` + ``waiting``."""

    agents: int
    accepted: int
    archived: int
    parked: int
    missing: int = Field(
        description="Later IMs of the agent are there, or its later numbers are known: these are not"
    )
    waiting: int = Field(description="Their front end tells of them; they may still be on the queue")
    disowned: int = Field(description="Would be missing, but an operator has disowned them")


class AgentCounts(BaseModel):
    """The IMs of an archiving agent, which numbers the IMs of one start of a front end."""

    agent: UUID
    pool: str
    front_end: str | None
    first_seen: datetime
    last_seen: datetime
    ended_at: datetime | None
    accepted: int
    archived: int
    parked: int
    missing: int
    missing_numbers: list[tuple[int, int]] = Field(
        description="Ranges: from, to", examples=[[[17, 17], [20, 31]]]
    )
    waiting: int
    disowned: int
    disowned_numbers: list[tuple[int, int]]
    disowned_at: datetime | None
    disowned_by: str | None
    disowned_why: str | None


class Completeness(BaseModel):
    """Totals of all agents that were asked for, and the first of them: agents with holes come first."""

    totals: Totals
    read_until: datetime | None = Field(
        description="Workers have read everything that came on the queue before"
    )
    agents: list[AgentCounts]


def lines_of_completeness(found: Completeness) -> Iterator[str]:
    """Yield a line for each agent with a hole, and one with the totals, for a person to read."""
    for agent in found.agents:
        if agent.missing:
            ranges = (f"{first}-{last}" for first, last in agent.missing_numbers)
            who = f"agent {agent.agent} ({agent.front_end or '?'}, {agent.pool})"
            yield f"{who}: {agent.missing} missing: {', '.join(ranges)}"
        if agent.disowned:
            by = f"{agent.disowned_by}: {agent.disowned_why}"
            yield f"agent {agent.agent}: {agent.disowned} disowned by {by}"
    totals = found.totals
    waiting = f", {totals.waiting} waiting" if totals.waiting else ""
    yield (
        f"{totals.agents} agents: {totals.accepted} accepted, {totals.archived} archived,"
        f" {totals.parked} parked, {totals.missing} missing{waiting}"
    )
