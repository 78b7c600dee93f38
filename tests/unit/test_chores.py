"""Chores of a worker: each at its interval, whatever becomes of it."""

import contextlib
from unittest.mock import patch

import pytest

from archiving.chores import Every, do_due


class Clock:
    """A monotonic clock that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> "Clock":
    """The clock by which chores are due, until the end of the test."""
    return Clock()


def times_done(clock: Clock, chore: Every[list[float]], seconds: int) -> list[float]:
    """Do a chore whenever it is due, looking every second; return when it was done, from now on."""
    done: list[float] = []
    began = clock.now
    with patch("time.monotonic", clock):
        for second in range(seconds):
            clock.now = began + second
            with contextlib.suppress(RuntimeError):
                do_due([chore], done)
    return [at - began for at in done]


def test_a_chore_is_done_at_once_and_then_at_its_interval(clock: Clock) -> None:
    chore = Every[list[float]](10, lambda done: done.append(clock.now))
    assert times_done(clock, chore, 25) == [0, 10, 20]


def test_a_chore_says_when_it_is_due_again(clock: Clock) -> None:
    def forget(done: list[float]) -> float | None:
        done.append(clock.now)
        return 1 if len(done) < 3 else None

    assert times_done(clock, Every(10, forget), 20) == [0, 1, 2, 12]


@pytest.mark.parametrize(("after_failure", "times"), [(None, [0, 10, 20]), (3, [0, 3, 13]), (0, [0, 1, 11])])
def test_a_chore_that_failed_is_due_again_as_declared(
    clock: Clock, after_failure: float | None, times: list[float]
) -> None:
    def fail_once(done: list[float]) -> None:
        done.append(clock.now)
        if len(done) == 1:
            raise RuntimeError

    chore = Every(10, fail_once, after_failure=after_failure)
    assert times_done(clock, chore, 21) == times


def test_chores_behind_one_that_fails_wait_for_the_next_round(clock: Clock) -> None:
    def fail(done: list[str]) -> None:
        done.append("fails")
        raise RuntimeError

    done: list[str] = []
    chores = [Every(10, fail), Every[list[str]](10, lambda done: done.append("behind"))]
    with patch("time.monotonic", clock):
        with pytest.raises(RuntimeError):
            do_due(chores, done)
        assert done == ["fails"]
        do_due(chores, done)
    assert done == ["fails", "behind"]
