"""The steps of an IM's way, in the order of cause."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from admin_api.archive.traces.answers import Step, StepName

Reported = tuple[StepName, datetime | None, dict[str, str | int | None]]
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


def steps_of(reported: Sequence[Reported]) -> Iterator[Step]:
    """Yield steps in the order of cause, each with the time since its cause, and a note on odd times."""
    times = {step: at for step, at, _ in reported}
    handed_out = _was_handed_out_first(times)
    for step, at, detail in _in_order(reported, times) if handed_out else reported:
        since = _CAUSES.get(step)
        while since is not None and times[since] is None:
            since = _CAUSES.get(since)
        before = None if since is None else times[since]
        took = None if at is None or before is None else round((at - before).total_seconds() * 1000, 3)
        note = _HANDED_OUT if handed_out and step == "confirmed" else None
        if took is not None and since is not None and took < 0:
            note, took = _blame(step, since, -took), None
        known = {name: value for name, value in detail.items() if value is not None}
        yield Step(step=step, at=at, since=since, took_ms=took, detail=known, note=note)


def _was_handed_out_first(times: Mapping[StepName, datetime | None]) -> bool:
    """Return whether a worker had the message before its confirm arrived.

    False if it had the message before it was published: then the clocks differ, and the order is unknown.
    """
    published = times.get("published") or times["accepted"]
    confirmed, consumed = times.get("confirmed"), times.get("consumed")
    if published is None or confirmed is None or consumed is None:
        return False
    return published <= consumed < confirmed


def _in_order(reported: Sequence[Reported], times: Mapping[StepName, datetime | None]) -> list[Reported]:
    """Return the steps with the confirm after the worker's steps that precede it in time."""
    confirmed = times["confirmed"]
    assert confirmed is not None
    steps = [each for each in reported if each[0] != "confirmed"]
    place = next(number for number, each in enumerate(steps) if each[0] == "consumed")
    while place < len(steps) and (at := steps[place][1]) is not None and at < confirmed:
        place += 1
    return [*steps[:place], *(each for each in reported if each[0] == "confirmed"), *steps[place:]]


def _blame(step: StepName, since: StepName, milliseconds: float) -> str:
    clock, other = _CLOCKS[step], _CLOCKS[since]
    if clock == other:
        return f"the {clock}'s clock was set back by {milliseconds:.3f} ms or more since it was {since}"
    return f"the {clock}'s clock is behind the {other}'s by {milliseconds:.3f} ms or more"
