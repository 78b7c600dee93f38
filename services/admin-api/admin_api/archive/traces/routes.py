"""One IM's trace: every step of its way with its time. It tells neither what was said nor between whom."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, Field
from sqlalchemy.orm import defer
from sqlmodel import col, select

from admin_api import audit
from admin_api.access.bulkheads import DatabaseOf
from admin_api.access.principals import Actor, Allow
from admin_api.archive.messages.search import ImId
from admin_api.database import Database
from admin_api.tables.archive import TraceRow
from contract.message import time_of
from runtime.problem import Problem

router = APIRouter(prefix="/v1/messages", tags=["archive"])

StepName = Literal["accepted", "decided", "published", "confirmed", "consumed", "committed", "acknowledged"]
_Told = tuple[StepName, datetime | None, dict[str, str | int | None]]
_CAUSES: Final[Mapping[StepName, StepName]] = {
    "decided": "accepted",
    "published": "decided",
    "confirmed": "published",
    "consumed": "published",  # not the confirm: the broker may hand out a message before its confirm arrives
    "committed": "consumed",
    "acknowledged": "committed",
}
_CLOCKS: Final[Mapping[StepName, str]] = {
    "accepted": "sender",  # it may bring the time
    "decided": "sender",
    "published": "front end",
    "confirmed": "front end",
    "consumed": "worker",
    "committed": "worker",
    "acknowledged": "worker",
}
_HANDED_OUT: Final = "the broker had handed the message out before this confirm arrived: it does both at once"


class Step(BaseModel):
    """A step of an IM's way."""

    step: StepName
    at: datetime | None = Field(
        description="By the clock of who did it; null if it was not told (yet): a confirm, a commit and an"
        " acknowledgement are told with what follows, a second later at most"
    )
    since: StepName | None = Field(description="The step that caused it, or the last before that with a time")
    took_ms: float | None = Field(
        ge=0, description="Since then; null if one of the two times was not told, or if ``note`` says why"
    )
    detail: dict[str, str | int]
    note: str | None = Field(description="Why its time is not what one expects")


class Trace(BaseModel):
    """The way of an IM. ``deliveries`` above 1: it came again, to this worker or another."""

    id: UUID
    trace_id: str = Field(description="Of OpenTelemetry, unless the sender brought a context of its own")
    deliveries: int
    steps: list[Step] = Field(description="In the order of cause: none before what caused it")


@router.get("/{id}/trace")
def get_trace(
    im_id: Annotated[ImId, Path(alias="id")],
    actor: Annotated[Actor, Depends(Allow("operator", "compliance"))],
    database: DatabaseOf,
) -> Trace:
    """Return the way of an archived IM. By which publish and batch it came is kept for some weeks."""
    trace = find_trace(database, im_id, actor)
    if trace is None:
        raise Problem(404, "There is no such IM in the archive; it may be parked.", field="id")
    return trace


def find_trace(database: Database, im_id: UUID, actor: Actor) -> Trace | None:
    """Return the way of an IM, None if it is not archived; the audit trail says who asked.

    Raises what ``database.UNAVAILABLE`` names.
    """
    # Of several batches that brought it, the first that was stored when the IM was, or after it, is the one.
    # The database compares: what a damaged row says may be no time that can be read.
    stored_at, batch_stored_at = col(TraceRow.stored_at), col(TraceRow.batch_stored_at)
    query = (
        select(TraceRow)
        .options(defer(stored_at, raiseload=True))  # type: ignore[arg-type]  # an attribute to SQLAlchemy
        .where(col(TraceRow.id) == im_id, col(TraceRow.sent_at) == time_of(im_id))
        .order_by(batch_stored_at < stored_at, batch_stored_at)
    )
    with database.transaction() as session:
        rows = session.exec(query).all()
        audit.record(session, actor, "archive.trace", str(im_id), detail={"count": min(len(rows), 1)})
    return _trace_of(rows) if rows else None


def _trace_of(rows: Sequence[TraceRow]) -> Trace:
    row = rows[0]
    steps: list[_Told] = [
        (
            "accepted",
            row.sent_at,
            {"front_end": row.front_end, "pool": row.pool, "agent": str(row.agent), "seq": row.seq},
        ),
        ("decided", row.sent_at, {"rule": row.rule, "policy_version": row.policy_version}),
    ]
    if row.consumed_at is not None:
        steps += [
            ("published", row.published_at, {"ims": row.publish_ims}),
            ("confirmed", row.confirmed_at, {}),
            ("consumed", row.consumed_at, {"worker": row.worker, "batch": row.batch}),
            ("committed", row.committed_at, {"ims": row.batch_ims}),
            ("acknowledged", row.acknowledged_at, {}),
        ]
    return Trace(
        id=row.id,
        trace_id=row.id.hex,
        deliveries=sum(row.batch_stored_at is not None for row in rows),
        steps=list(steps_of(steps)),
    )


def steps_of(told: Sequence[_Told]) -> Iterator[Step]:
    """Yield steps in the order of cause, each with the time since its cause; a note says what looks wrong."""
    times = {step: at for step, at, _ in told}
    handed_out = _was_handed_out_first(times)
    for step, at, detail in _in_order(told, times) if handed_out else told:
        since = _CAUSES.get(step)
        while since is not None and times[since] is None:
            since = _CAUSES.get(since)
        before = None if since is None else times[since]
        took = None if at is None or before is None else round((at - before).total_seconds() * 1000, 3)
        note = _HANDED_OUT if handed_out and step == "confirmed" else None
        if took is not None and since is not None and took < 0:
            note, took = _blame(step, since, -took), None
        said = {name: value for name, value in detail.items() if value is not None}
        yield Step(step=step, at=at, since=since, took_ms=took, detail=said, note=note)


def _was_handed_out_first(times: Mapping[StepName, datetime | None]) -> bool:
    """Whether a worker had a message before its confirm arrived; no, if it had it before it was published:
    then their clocks differ, and nobody can tell.
    """
    published = times.get("published") or times["accepted"]
    confirmed, consumed = times.get("confirmed"), times.get("consumed")
    if published is None or confirmed is None or consumed is None:
        return False
    return published <= consumed < confirmed


def _in_order(told: Sequence[_Told], times: Mapping[StepName, datetime | None]) -> list[_Told]:
    """Return the steps with the confirm behind those of the worker's that came before it."""
    confirmed = times["confirmed"]
    assert confirmed is not None
    steps = [each for each in told if each[0] != "confirmed"]
    place = next(number for number, each in enumerate(steps) if each[0] == "consumed")
    while place < len(steps) and (at := steps[place][1]) is not None and at < confirmed:
        place += 1
    return [*steps[:place], *(each for each in told if each[0] == "confirmed"), *steps[place:]]


def _blame(step: StepName, since: StepName, milliseconds: float) -> str:
    clock, other = _CLOCKS[step], _CLOCKS[since]
    if clock == other:
        return f"the {clock}'s clock was set back by {milliseconds:.3f} ms or more since it was {since}"
    return f"the {clock}'s clock is behind the {other}'s by {milliseconds:.3f} ms or more"


def lines_of(trace: Trace) -> Iterator[str]:
    """Say it for a person: a line for each step."""
    yield f"IM {trace.id}, trace id {trace.trace_id}, came {trace.deliveries} times"
    for step in trace.steps:
        at = "not told" if step.at is None else f"{step.at:%Y-%m-%d %H:%M:%S.%f}"
        took = "" if step.took_ms is None else f"{step.took_ms:+.3f} ms"
        detail = ", ".join(f"{name} {value}" for name, value in step.detail.items())
        if step.note is not None:
            detail = f"{detail} ({step.note})".lstrip()
        yield f"{step.step:<13} {at:<27} {took:>14}  {detail}"
