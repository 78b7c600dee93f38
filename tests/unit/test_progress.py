"""Up to when a worker says it has read the queue: never later than what it has read."""

from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st
from pika.spec import BasicProperties

from archiving.delivery import Delivery
from archiving.progress import Progress

NOW = 1_800_000_000
CLOCKS, HANDS = 60, 10
"""Seconds that a clock, or what another worker has in its hands, may make up."""


def delivery(published: int | None) -> Delivery:
    """Return a message that a front end published then, by its clock."""
    return Delivery(1, 1, BasicProperties(timestamp=published), b"")


@given(
    st.lists(
        st.tuples(st.integers(1, 30), st.lists(st.none() | st.integers(0, 7200), min_size=1, max_size=4))
    )
)
def test_what_was_read_is_never_later_than_the_oldest_of_a_batch(
    batches: list[tuple[int, list[int | None]]],
) -> None:
    progress, clock, read = Progress(), 1_000_000.0, 0.0
    for wait, ages in batches:
        clock += wait
        times = [None if age is None else int(NOW + clock) - age for age in ages]
        with patch("time.monotonic", return_value=clock), patch("time.time", return_value=NOW + clock):
            progress.note_stored([delivery(each) for each in times])
            if None not in times:
                read = max(read, clock - max(age for age in ages if age is not None) - CLOCKS)
            seconds = progress.take()
            assert seconds is None or abs(clock - seconds - read) < 1


def test_a_queue_that_was_seen_empty_was_read_up_to_then() -> None:
    progress = Progress()
    with patch("time.monotonic", return_value=1000.0):
        progress.note_empty(0.0)
        assert progress.take() is None
    with patch("time.monotonic", return_value=1020.0):
        progress.note_empty(1015.0)
        assert progress.take() == 5 + HANDS
        assert progress.take() is None
