"""Fair turns: whatever one connector brings, another waits for so many turns and no more."""

import asyncio
import time
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from contract.policy import Decision
from frontend.listeners.turns import MOST_IN_ROUND, Shares, Turns
from frontend.receipt import Receipt
from frontend.waiting import Pending, Waiting
from tests.unit.agent_port import SETTINGS, make_im, reached
from tests.unit.rounds import call_in_rounds

_IM = make_im("hello")
_DECISION = Decision(archive=True, rule="internal-everyone", scope="internal", version=7)
_NAMES = st.sampled_from("abc")
_STEPS = st.lists(
    st.tuples(st.sampled_from(["bring", "bring", "publish", "refused", "take"]), _NAMES), max_size=60
)


def _pending(waiting: Waiting, connector: str) -> Pending:
    return Pending(_IM, Receipt(_IM.id, _DECISION), 0, waiting.lane(connector))


@given(_STEPS, st.integers(1, 7))
def test_ims_leave_in_their_connector_s_order_and_nobody_is_passed_over(
    steps: list[tuple[str, str]], publish_ims: int
) -> None:
    waiting = Waiting(SETTINGS.model_copy(update={"publish_ims": publish_ims}), 3)
    brought: dict[str, list[Pending]] = {name: [] for name in "abc"}
    left: dict[str, list[Pending]] = {name: [] for name in "abc"}
    names = {id(waiting.lane(name)): name for name in "abc"}
    count = 0
    for step, name in steps:
        waiting_ones = {each for each in brought if len(brought[each]) > len(left[each])}
        if step == "bring":
            brought[name].append(_pending(waiting, name))
            waiting.add(brought[name][-1])
            count += 1
            continue
        if step == "take":
            group = [waiting.take_first()] if waiting.has_queued else []
        else:
            group = waiting.begin_publish()
            if step == "refused":
                waiting.put_back()
                group = []
            waiting.under_way = []
        count -= len(group)
        for pending in group:
            left[names[id(pending.lane)]].append(pending)
        for each, ims in left.items():
            assert ims == brought[each][: len(ims)]
        # So long as others wait, nobody has two turns before each of them has had one.
        turns = Counter(names[id(pending.lane)] for pending in group)
        for each in waiting_ones:
            if len(brought[each]) > len(left[each]):  # it still waits
                assert all(turns[other] <= turns[each] + 1 for other in turns)
        assert waiting.queued == count


@given(st.integers(1, 50), st.integers(1, 30))
def test_one_im_is_in_the_next_message_however_many_another_connector_has_brought(
    flood: int, publish_ims: int
) -> None:
    waiting = Waiting(SETTINGS.model_copy(update={"publish_ims": publish_ims + 1}), 2)
    for _ in range(flood):
        waiting.add(_pending(waiting, "flood"))
    one = _pending(waiting, "one")
    waiting.add(one)
    assert one in waiting.begin_publish()[:2]


def test_what_one_connector_brings_takes_no_room_from_another_s_share() -> None:
    waiting = Waiting(SETTINGS.model_copy(update={"max_pending": 100}), 4)
    flood = waiting.lane("flood")
    while flood.has_room.is_set():
        waiting.add(_pending(waiting, "flood"))
    assert flood.ims == 50  # nobody else wanted any
    others = [waiting.lane(name) for name in ("one", "two", "three")]
    for name, lane in zip(("one", "two", "three"), others, strict=True):
        while lane.has_room.is_set():
            waiting.add(_pending(waiting, name))
        assert lane.ims == 12
    assert waiting.queued <= 100
    waiting.begin_publish()
    assert all(lane.has_room.is_set() for lane in (flood, *others))


@given(st.lists(st.tuples(_NAMES, st.integers(-9, 9)), max_size=60), st.integers(3, 30))
def test_a_share_is_always_there(steps: list[tuple[str, int]], most: int) -> None:
    shares, has = Shares(most, 3), Counter[str]()
    for name, change in steps:
        more = max(change, -has[name])
        if more <= 0 or shares.has_room(name, more):
            shares.add(name, more)
            has[name] += more
        else:
            assert has[name] + more > most // 3
        assert has.total() <= 2 * most


@given(st.lists(st.tuples(_NAMES, st.integers(1, 2 * MOST_IN_ROUND), st.booleans()), min_size=1, max_size=40))
def test_turns_come_to_all_who_stay_in_their_connector_s_order(calls: list[tuple[str, int, bool]]) -> None:
    came: list[int] = []

    async def scenario() -> None:
        turns = Turns()

        async def call(number: int) -> None:
            name, cost, _ = calls[number]
            await turns.wait(name, cost)
            came.append(number)

        tasks = [asyncio.create_task(call(number)) for number in range(len(calls))]
        await asyncio.sleep(0)
        for task, (_, _, gives_up) in zip(tasks, calls, strict=True):
            if gives_up:
                task.cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)

    asyncio.run(scenario())
    stay = {number for number, (_, _, gives_up) in enumerate(calls) if not gives_up}
    assert stay <= set(came)
    for name in "abc":
        of_it = [number for number in came if calls[number][0] == name]
        assert of_it == sorted(of_it)


def test_what_is_under_way_goes_on_while_requests_take_long() -> None:
    async def scenario() -> None:
        turns, done, steps = Turns(), 0, 0

        async def flood() -> None:
            nonlocal done
            await turns.wait("flood", MOST_IN_ROUND)
            until = time.thread_time() + 0.1
            while time.thread_time() < until:
                pass
            done += 1

        async def go_on() -> None:  # as an IM does: published, confirmed, answered
            nonlocal steps
            for _ in range(20):
                await asyncio.sleep(0)
                steps += 1

        flooding = [asyncio.create_task(flood()) for _ in range(5)]
        await reached(lambda: done > 0)
        await go_on()
        assert done <= 2
        await asyncio.gather(*flooding)

    asyncio.run(scenario())


def test_a_round_takes_so_much_and_the_next_is_shared() -> None:
    came = call_in_rounds(MOST_IN_ROUND)
    assert [name for _, name in came[:3]].count("one") == 1  # though forty came before it
    assert max(Counter(number for number, _ in came).values()) <= 2
