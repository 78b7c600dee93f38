"""The archiving agent of a critical pool: its numbers never have a false hole."""

import asyncio

import pytest

from contract.message import make_id
from contract.policy import GlobalSetting
from frontend.agent import Agent
from frontend.publisher import RefusedError, UnknownError
from frontend.receipt import NOT_ARCHIVED
from runtime.problem import Problem
from tests.unit.agent_port import CONNECTOR, Port, fate_of, outcome, reached, run, submit


def test_what_gathers_while_a_publish_is_under_way_goes_together() -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        port.gate.clear()
        receipts = [submit(agent)]
        await asyncio.sleep(0)  # the first is taken alone …
        await asyncio.sleep(0)
        receipts += [submit(agent) for _ in range(100)]
        port.gate.set()
        assert [await outcome(receipt) for receipt in receipts] == [""] * 101
        assert port.messages <= 3
        assert [im.seq for im in port.confirmed] == list(range(1, 102))
        assert agent.safekeeping.confirmed == 101

    run(scenario)


def test_an_im_that_policy_does_not_archive_is_not_published() -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        receipt = submit(agent)
        assert receipt.fate is NOT_ARCHIVED
        assert not receipt.decision.archive
        assert receipt.decision.rule == "internal-none"
        await agent.drain()
        assert port.confirmed == []

    run(scenario, setting=GlobalSetting.NONE)


def test_numbers_of_a_refused_message_are_used_again() -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        first = agent.safekeeping.id
        assert [await outcome(submit(agent)) for _ in range(3)] == ["", "", ""]
        assert [im.seq for im in port.confirmed] == [1, 2, 3]
        assert agent.safekeeping.id == first

    run(scenario, None, RefusedError, RefusedError)


def test_after_a_publish_of_unknown_outcome_a_new_agent_begins_at_1() -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        first = agent.safekeeping.id
        assert await outcome(submit(agent)) == ""
        assert "lost" in await outcome(submit(agent))
        assert await outcome(submit(agent)) == ""
        assert [(im.agent == first, im.seq) for im in port.confirmed] == [(True, 1), (False, 1)]

    run(scenario, None, UnknownError)


def test_an_im_that_waits_past_its_deadline_is_given_up_and_never_published() -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        port.connected.clear()
        assert "out of reach" in await outcome(submit(agent, "late"))
        port.connected.set()
        assert await outcome(submit(agent, "in time")) == ""
        assert [(im.body, im.seq) for im in port.confirmed] == [("in time", 1)]

    run(scenario, deadline_seconds=0.2)


def test_more_than_may_wait_is_refused_at_once_and_told_its_id() -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        port.connected.clear()
        receipts = [submit(agent) for _ in range(10)]
        im_id = make_id()
        with pytest.raises(Problem) as raised:
            submit(agent, im_id=im_id)
        assert raised.value.status == 503
        assert raised.value.headers == {"Retry-After": "1"}
        assert raised.value.document()["id"] == str(im_id)
        assert (agent.safekeeping.accepted, agent.safekeeping.confirmed) == (10, 0)
        port.connected.set()
        await asyncio.wait_for(agent.lane_of(CONNECTOR).has_room.wait(), 5)
        assert await outcome(submit(agent, im_id=im_id)) == ""
        assert [await outcome(receipt) for receipt in receipts] == [""] * 10
        assert (agent.safekeeping.accepted, agent.safekeeping.confirmed) == (11, 11)

    run(scenario, max_pending=10, deadline_seconds=5)


def test_bytes_that_wait_are_bounded_too() -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        port.connected.clear()
        submit(agent, "x" * 900)
        assert agent.lane_of(CONNECTOR).has_room.is_set()
        submit(agent, "x" * 900)
        assert not agent.lane_of(CONNECTOR).has_room.is_set()
        port.connected.set()
        await asyncio.wait_for(agent.lane_of(CONNECTOR).has_room.wait(), 5)

    run(scenario, max_pending_bytes=1_500, deadline_seconds=5)


def test_what_was_refused_keeps_its_order_and_its_deadline() -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        port.gate.clear()
        receipts = [submit(agent, str(number)) for number in range(5)]
        port.gate.set()
        assert [await outcome(receipt) for receipt in receipts] == [""] * 5
        assert [im.body for im in port.confirmed] == ["0", "1", "2", "3", "4"]
        port.fates = [RefusedError] * 1000
        assert "refuses" in await outcome(submit(agent, "late"))
        port.fates = []
        assert await outcome(submit(agent, "next")) == ""
        assert [(im.body, im.seq) for im in port.confirmed[5:]] == [("next", 6)]

    run(scenario, RefusedError, deadline_seconds=0.3, publish_ims=2)


def test_an_id_that_comes_again_is_published_once() -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        im_id = make_id()
        receipts = [submit(agent, "same", im_id) for _ in range(3)]
        assert [await outcome(receipt) for receipt in receipts] == ["", "", ""]
        assert await outcome(submit(agent, "same", im_id)) == ""
        assert len(port.confirmed) == 1
        with pytest.raises(Problem, match="another content") as raised:
            submit(agent, "other", im_id)
        assert (raised.value.status, raised.value.field) == (409, "/id")

    run(scenario)


def test_an_agent_whose_first_publish_nobody_knows_of_says_that_it_ended_before() -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        assert "lost" in await outcome(submit(agent))
        assert await outcome(submit(agent)) == ""
        [ended] = port.statements
        assert (ended.confirmed, ended.ended, ended.uncounted) == (0, True, ((1, 1),))
        assert ended.agent != port.confirmed[0].agent

    run(scenario, UnknownError)


def test_an_agent_that_ended_just_before_its_front_end_says_so() -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        assert "lost" in await outcome(submit(agent))
        await agent.drain()
        said = [(each.confirmed, each.ended, each.uncounted) for each in port.statements]
        assert said == [(0, True, ((1, 1),)), (0, True, ())]

    run(scenario, UnknownError)


@pytest.mark.parametrize("critical", [True, False])
def test_a_number_that_is_confirmed_after_its_im_was_answered_is_said_not_to_count(critical: bool) -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        waiting = agent.safekeeping._waiting
        assert await outcome(submit(agent)) == ""
        port.gate.clear()
        slow = submit(agent)
        await reached(lambda: bool(waiting.under_way))
        for pending in waiting.under_way:
            pending.deadline = 0  # as if it had waited for long
        assert (await fate_of(slow)).kind == ("refused" if critical else "spooled")
        port.gate.set()
        await reached(lambda: len(port.confirmed) == (2 if critical else 3))
        assert (await fate_of(submit(agent))).kind == "confirmed"
        await reached(lambda: any(each.uncounted for each in port.statements))
        assert [numbers for each in port.statements for numbers in each.uncounted] == [(2, 2)]

    run(scenario, critical=critical, deadline_seconds=30)


def test_an_id_that_was_given_up_may_come_again() -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        im_id = make_id()
        assert "lost" in await outcome(submit(agent, "same", im_id))
        assert await outcome(submit(agent, "same", im_id)) == ""
        assert [im.id for im in port.confirmed] == [im_id]

    run(scenario, UnknownError)


def test_remembered_ids_are_bounded() -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        ids = [make_id() for _ in range(3)]
        for im_id in ids:
            assert await outcome(submit(agent, "same", im_id)) == ""
        assert await outcome(submit(agent, "other", ids[0])) == ""  # forgotten: the archive itself refuses it

    run(scenario, remembered_ids=2)


@pytest.mark.parametrize("passes", range(4))
def test_an_agent_ends_though_an_im_comes_at_the_same_moment(passes: int) -> None:
    async def scenario(agent: Agent, _port: Port) -> None:
        [running] = [task for task in asyncio.all_tasks() if "Agent.run" in repr(task)]
        assert await outcome(submit(agent)) == ""
        await asyncio.sleep(0.05)  # it waits for work
        submit(agent)
        for _ in range(passes):
            await asyncio.sleep(0)
        running.cancel()
        done, _ = await asyncio.wait({running}, timeout=5)
        assert done

    run(scenario)
