"""Traces as the API answers them."""

from collections.abc import Iterator
from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field

StepName = Literal["accepted", "decided", "published", "confirmed", "consumed", "committed", "acknowledged"]


class Step(BaseModel):
    """A step of an IM's way."""

    step: StepName
    at: datetime | None = Field(
        description="By the clock of the service that did it; null if it is not known (yet): confirm, commit"
        " and acknowledgement are reported with the next message or batch, a second later at most"
    )
    since: StepName | None = Field(description="The step that caused it, or the last before that with a time")
    took_ms: float | None = Field(
        ge=0, description="Since then; null if one of the two times is not known, or if `note` gives a reason"
    )
    detail: dict[str, str | int]
    note: str | None = Field(description="The reason for an odd time")


class Trace(BaseModel):
    """The way of an IM. ``deliveries`` above 1: it was delivered again, to this worker or another."""

    id: UUID
    trace_id: str = Field(description="Of OpenTelemetry, unless the sender brought a context of its own")
    deliveries: int
    steps: list[Step] = Field(description="In the order of cause: none before its cause")


def lines_of_trace(trace: Trace) -> Iterator[str]:
    """Yield a line for each step, for a person to read."""
    yield f"IM {trace.id}, trace id {trace.trace_id}, came {trace.deliveries} times"
    for step in trace.steps:
        at = "not told" if step.at is None else f"{step.at:%Y-%m-%d %H:%M:%S.%f}"
        took = "" if step.took_ms is None else f"{step.took_ms:+.3f} ms"
        detail = ", ".join(f"{name} {value}" for name, value in step.detail.items())
        if step.note is not None:
            detail = f"{detail} ({step.note})".lstrip()
        yield f"{step.step:<13} {at:<27} {took:>14}  {detail}"
