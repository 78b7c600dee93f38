"""People in large groups who are new are charged to the connector that brings them, and to no other."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.agent import Agent
from frontend.im import IMProblem
from frontend.policy.newcomers import Newcomers
from frontend.receipt import CONFIRMED
from tests.unit.agent_port import CONNECTOR, Port, fate_of, make_im, run, submit


def group(number: int, size: int = 500) -> tuple[str, ...]:
    """Return the people of a group that no other group has."""
    return tuple(f"sip:{number}-{place}@contoso.com" for place in range(size))


def test_a_connector_that_brings_many_new_people_waits_and_others_do_not() -> None:
    newcomers = Newcomers()
    admitted = [newcomers.admit("flood", group(number), 0) == 0 for number in range(300)]
    assert admitted == [True] * 40 + [False] * 260
    assert newcomers.admit("other", group(1000), 0) == 0
    assert newcomers.admit("flood", group(3), 0) == 0  # they are known


def test_to_few_people_a_connector_may_always_send() -> None:
    async def scenario(agent: Agent, _port: Port) -> None:
        for number in range(60):
            agent._newcomers.admit(CONNECTOR.name, group(number), time.monotonic())
        with pytest.raises(IMProblem, match="more new people"):
            agent.submit(make_im("hello", recipients=list(group(60))), CONNECTOR, agent.lane_of(CONNECTOR))
        assert await fate_of(submit(agent)) is CONFIRMED

    run(scenario)


def test_who_waits_as_long_as_told_is_admitted() -> None:
    newcomers, now = Newcomers(), 0.0
    for number in range(300):
        while (seconds := newcomers.admit("flood", group(number), now)) > 0:
            now += seconds
    assert 25 <= now <= 27


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(9, 2000), st.floats(0, 2)), max_size=60))
def test_no_connector_brings_more_than_its_share(ims: list[tuple[int, int, float]]) -> None:
    newcomers, now, met = Newcomers(), 0.0, set[str]()
    for number, size, pause in ims:
        now += pause
        people = group(number, size)
        if newcomers.admit("one", people, now) == 0:
            met |= set(people)
        assert len(met) <= 20_000 + 5_000 * now + 2000
