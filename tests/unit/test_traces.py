"""An IM's trace: in the order of cause, whatever the clocks say."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from admin_api.archive.traces.answers import Step, StepName
from admin_api.archive.traces.steps import steps_of

_START = datetime(2026, 11, 30, tzinfo=UTC)
_NAMES: tuple[StepName, ...] = get_args(StepName)


def _steps(*milliseconds: float | None) -> list[Step]:
    """Return the steps of a trace, told so long after a start; None: not told."""
    times = [None if each is None else _START + timedelta(milliseconds=each) for each in milliseconds]
    return list(steps_of([(name, at, {}) for name, at in zip(_NAMES, times, strict=False)]))


_TIME = st.integers(-5, 5) | st.floats(-1e9, 1e9)
_TOLD = st.none() | _TIME  # perhaps
_TIMES = st.tuples(_TIME, _TOLD, _TOLD, _TIME, _TOLD, _TOLD)  # when it was consumed is known, or nothing is


@given(_TIMES)
def test_whatever_the_times_steps_are_in_order_and_none_takes_less_than_nothing(
    times: tuple[float | None, ...],
) -> None:
    steps = _steps(0, *times)
    names = [step.step for step in steps]
    assert sorted(names) == sorted(_NAMES)
    assert [name for name in names if name != "confirmed"] == [name for name in _NAMES if name != "confirmed"]
    assert names.index("confirmed") > names.index("published")
    at = {step.step: step.at for step in steps}
    for step in steps:
        if step.since is not None:
            assert names.index(step.since) < names.index(step.step)
            before = at[step.since]
            assert before is not None
            if step.at is not None and step.at < before - timedelta(microseconds=1):
                assert step.took_ms is None
                assert step.note is not None and "clock" in step.note
        assert step.took_ms is None or step.took_ms >= 0
    told = [step for step in steps if step.at is not None]
    for one, next_ in itertools.pairwise(told):
        assert one.at is not None and next_.at is not None
        if next_.at < one.at - timedelta(microseconds=1):  # somebody says why
            assert any(step.note for step in steps)


def test_a_message_handed_out_before_its_confirm_arrived_is_said_to_be() -> None:
    steps = _steps(0, 0, 1, 2.298, 2, 5, 6)
    assert [step.step for step in steps][2:5] == ["published", "consumed", "confirmed"]
    confirmed = steps[4]
    assert (confirmed.since, confirmed.took_ms) == ("published", 1.298)
    assert confirmed.note is not None and "handed the message out before" in confirmed.note
    assert (steps[3].since, steps[3].took_ms, steps[3].note) == ("published", 1, None)


def test_a_worker_s_clock_that_is_behind_is_named_with_how_much() -> None:
    consumed = _steps(0, 0, 10, 12, 7, 9, 10)[4]
    assert (consumed.step, consumed.took_ms) == ("consumed", None)
    assert consumed.note == "the worker's clock is behind the front end's by 3.000 ms or more"


def test_a_clock_that_was_set_back_is_named() -> None:
    committed = _steps(0, 0, 1, 2, 3, 2.5, 4)[5]
    assert committed.note == "the worker's clock was set back by 0.500 ms or more since it was consumed"
