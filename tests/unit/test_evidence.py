"""An item is refused if it cannot be stored while others can, of whichever class its errors are."""

import random
from collections import Counter

import psycopg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from archiving.evidence import DoubtError, Sieve

ERRORS = [
    ValueError("a"),
    KeyError("b"),
    MemoryError("c"),
    psycopg.errors.DiskFull("d"),
    psycopg.errors.NumericValueOutOfRange("e"),
    psycopg.errors.UndefinedFunction("f"),
    psycopg.errors.InternalError_("g"),
    psycopg.OperationalError("the connection is lost"),
]


MOST_BAD_LUCK = 7
"""How often a good item fails alone, at most, each time between two good moments: the eighth is evidence."""


class Store:
    """Stores numbers; some can't be, and sometimes nothing can."""

    def __init__(self, bad: dict[int, Exception], away: "random.Random | None" = None) -> None:
        self.bad = bad
        self.stored: set[int] = set()
        self.tries = 0
        self._away = away
        self._tried_alone: Counter[int] = Counter()

    def store(self, items: object) -> None:
        """Store all or none."""
        assert isinstance(items, list)
        self.tries += 1
        if len(items) > 1 or self._tried_alone[items[0]] < MOST_BAD_LUCK:
            self._tried_alone.update(items if len(items) == 1 else ())
            self.rehearse(items)
        for item in items:
            if item in self.bad:
                raise self.bad[item]
        self.stored |= set(items)

    def rehearse(self, _things: object) -> None:
        """Fail if nothing can be stored."""
        if self._away is not None and self._away.random() < 0.3:
            raise psycopg.OperationalError("away")


def sift(sieve: Sieve[int], store: Store) -> None:
    """Come again until it is done, as the worker does."""
    for _ in range(10_000):
        try:
            sieve.sift(store.store, store.rehearse)
        except (DoubtError, psycopg.OperationalError):
            continue
        return
    pytest.fail("it stands still")


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 60), st.dictionaries(st.integers(0, 59), st.sampled_from(ERRORS), max_size=6))
def test_what_cannot_be_stored_is_refused_once_and_all_else_is_stored(
    count: int, bad: dict[int, Exception]
) -> None:
    refused: list[int] = []
    store = Store(bad)
    sift(Sieve(list(range(count)), lambda item, _: refused.append(item)), store)
    assert sorted(refused) == sorted(set(range(count)) & bad.keys())
    assert store.stored == set(range(count)) - bad.keys()


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 40), st.integers())
@example(1, 16_075_231_090_440_224)  # the eighth time it fails alone
def test_what_a_database_that_comes_and_goes_refuses_is_stored_later(count: int, seed: int) -> None:
    refused: list[tuple[int, str]] = []
    store = Store({}, random.Random(seed))
    sift(Sieve(list(range(count)), lambda item, why: refused.append((item, why))), store)
    assert refused == []
    assert store.stored == set(range(count))


@pytest.mark.parametrize("error", ERRORS)
def test_nothing_is_refused_while_nothing_can_be_stored(error: Exception) -> None:
    refused: list[int] = []
    sieve = Sieve(list(range(10)), lambda item, _: refused.append(item))

    def fail(_things: object) -> None:
        raise error

    for _ in range(100):
        with pytest.raises(type(error)):
            sieve.sift(fail, fail)
    assert refused == []
    store = Store({})
    sift(sieve, store)
    assert store.stored == set(range(10))


def test_things_under_doubt_do_not_hold_up_the_others() -> None:
    store = Store({3: psycopg.errors.DiskFull("full"), 5: psycopg.errors.DiskFull("full")})
    sieve = Sieve(list(range(8)), lambda _thing, _why: None)
    with pytest.raises(DoubtError):
        sieve.sift(store.store, store.rehearse)
    assert store.stored == {0, 1, 2, 4, 6, 7}


def test_a_thing_that_ends_the_session_is_under_doubt_and_a_database_that_is_away_is_not() -> None:
    ends = psycopg.OperationalError("the connection is lost")
    open_ = True

    def store(items: object) -> None:
        nonlocal open_
        rehearse(items)
        if 3 in items:  # type: ignore[operator] # a list
            open_ = False
            raise ends

    def rehearse(_things: object) -> None:
        if not open_:
            raise ends

    refused: list[int] = []
    sieve = Sieve(list(range(8)), lambda item, _: refused.append(item))
    with pytest.raises(psycopg.OperationalError):
        sieve.sift(store, rehearse)
    for _ in range(20):
        with pytest.raises(psycopg.OperationalError):  # it is away: that counts for nothing
            sieve.sift(store, rehearse)
    assert refused == []
    doubts = 0
    while not refused:
        open_ = True
        try:
            sieve.sift(store, rehearse)
        except DoubtError:
            doubts += 1
    assert refused == [3]
    assert doubts >= 8


def test_the_reason_is_in_the_databases_words() -> None:
    reasons: list[str] = []
    store = Store({0: psycopg.errors.NumericValueOutOfRange("bigint out of range")})
    sift(Sieve([0], lambda _, why: reasons.append(why)), store)
    assert reasons == ["cannot be stored: bigint out of range"]
