"""The archiving agent of a pool that isn't critical: what the broker can't take now goes to disk first."""

import asyncio
import errno
import os
import shutil
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import pytest

from contract.message import make_id
from frontend.agent import Agent
from frontend.publisher import RefusedError, UnknownError, UnreachableError
from frontend.receipt import CONFIRMED, SPOOLED
from frontend.spool.file import SpoolFile
from frontend.spool.slot import Slot
from frontend.spool.spool import Spool
from tests.unit.agent_port import Policies, Port, encode_spooled, fate_of, reached, run, submit


def test_while_the_broker_is_away_an_im_goes_to_disk_at_once_and_is_sent_later(tmp_path: Path) -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        port.connected.clear()
        receipts = [submit(agent, str(number)) for number in range(20)]
        assert [await fate_of(receipt) for receipt in receipts] == [SPOOLED] * 20
        shutil.copytree(tmp_path, left := tmp_path / "left")
        assert agent.safekeeping.spooled == SpoolFile(left / "spool.sqlite").count == 20
        await reached(lambda: agent.safekeeping.note_state().name == "spooling")
        port.connected.set()
        await reached(lambda: agent.safekeeping.spooled == 0)
        assert [im.body for im in port.confirmed] == [str(number) for number in range(20)]
        assert [im.seq for im in port.confirmed] == list(range(1, 21))
        await reached(lambda: agent.safekeeping.note_state().name == "normal")
        assert await fate_of(submit(agent)) is CONFIRMED

    run(scenario, critical=False, folder=tmp_path, deadline_seconds=60)


@pytest.mark.parametrize("error", [RefusedError, UnknownError])
def test_ims_keep_their_order_when_trouble_begins(error: type[Exception]) -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        port.gate.clear()
        receipts = [submit(agent, str(number)) for number in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # some are under way now …
        receipts += [submit(agent, str(number)) for number in range(3, 6)]  # … and these wait
        port.gate.set()
        await reached(lambda: len(port.fates) < 3)  # refused
        receipts += [submit(agent, str(number)) for number in range(6, 9)]
        for receipt in receipts:
            assert (await fate_of(receipt)).kind != "refused"
        await reached(lambda: agent.safekeeping.spooled == 0 and len(port.confirmed) >= 9)
        assert [im.body for im in port.confirmed] == [str(number) for number in range(9)]

    run(scenario, *[error] * 3, critical=False, publish_ims=2, deadline_seconds=5)


def test_a_row_of_the_spool_that_cannot_be_read_is_set_aside(tmp_path: Path) -> None:
    file = SpoolFile(tmp_path / "spool.sqlite")
    file.append([b"{}", b"\xff"])
    file.close()

    async def scenario(agent: Agent, port: Port) -> None:
        assert (await fate_of(submit(agent, "readable"))).kind != "refused"
        await reached(lambda: agent.safekeeping.spooled == 0 and len(port.confirmed) == 1)

    run(scenario, critical=False, folder=tmp_path)
    with sqlite3.connect(tmp_path / "spool.sqlite") as connection:
        rows = connection.execute("SELECT content FROM unreadable").fetchall()
    connection.close()
    assert rows == [(b"{}",), (b"\xff",)]


@pytest.mark.parametrize("error", [RefusedError, UnknownError])
def test_what_the_broker_does_not_confirm_goes_to_disk_and_is_sent_again(error: type[Exception]) -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        im_id = make_id()
        assert await fate_of(submit(agent, im_id=im_id)) is SPOOLED
        port.fates = []
        await reached(lambda: agent.safekeeping.spooled == 0)
        assert [im.id for im in port.confirmed] == [im_id]

    run(scenario, *[error] * 1000, critical=False, deadline_seconds=0.2)


def test_the_spool_outlives_its_process_and_keeps_the_order(tmp_path: Path) -> None:
    async def before(agent: Agent, port: Port) -> None:
        assert await fate_of(submit(agent, "first")) is CONFIRMED
        port.connected.clear()
        for number in range(10):
            assert await fate_of(submit(agent, str(number))) is SPOOLED

    async def after(agent: Agent, port: Port) -> None:
        await reached(lambda: agent.safekeeping.spooled == 0)
        assert [im.body for im in port.confirmed] == [str(number) for number in range(10)]

    run(before, critical=False, folder=tmp_path)
    run(after, critical=False, folder=tmp_path)


def test_the_next_process_says_how_far_an_agent_got_that_was_killed(tmp_path: Path) -> None:
    killed = []

    async def before(agent: Agent, _port: Port) -> None:
        for _ in range(3):
            assert await fate_of(submit(agent)) is CONFIRMED
        killed.append(agent.safekeeping.id)

    async def after(agent: Agent, port: Port) -> None:
        await reached(lambda: bool(port.statements))
        statement = port.statements[0]
        assert (statement.agent, statement.confirmed, statement.ended) == (killed[0], 3, True)

    run(before, folder=tmp_path)
    run(after, folder=tmp_path)


def test_an_agent_that_stopped_in_order_is_stated_once(tmp_path: Path) -> None:
    async def before(agent: Agent, port: Port) -> None:
        assert await fate_of(submit(agent)) is CONFIRMED
        await agent.drain()
        assert [(each.confirmed, each.ended) for each in port.statements] == [(1, True)]

    async def after(agent: Agent, port: Port) -> None:
        assert await fate_of(submit(agent)) is CONFIRMED
        assert port.statements == []

    run(before, folder=tmp_path)
    run(after, folder=tmp_path)


def test_an_agent_ended_by_a_publish_of_unknown_outcome_is_stated() -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        first = agent.safekeeping.id
        assert await fate_of(submit(agent)) is CONFIRMED
        assert (await fate_of(submit(agent))).kind == "refused"
        assert await fate_of(submit(agent)) is CONFIRMED
        assert [(each.agent, each.confirmed, each.ended) for each in port.statements] == [(first, 1, True)]

    run(scenario, None, UnknownError)


def test_a_full_spool_blocks_and_says_so() -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        port.connected.clear()
        fates = [await fate_of(submit(agent, "x" * 300)) for _ in range(10)]
        kept = fates.count(SPOOLED)
        assert 0 < kept < 10
        assert "the spool is full" in fates[-1].why
        await reached(
            lambda: (
                (agent.safekeeping.note_state().name, agent.safekeeping.note_state().why)
                == ("blocking", fates[-1].why)
            )
        )
        port.connected.set()
        await reached(lambda: agent.safekeeping.note_state().name == "normal")
        assert len(port.confirmed) == kept

    run(scenario, critical=False, spool_max_bytes=2500)


def test_a_disk_that_fails_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    async def scenario(agent: Agent, port: Port) -> None:
        port.connected.clear()
        monkeypatch.setattr(SpoolFile, "append", fail)
        fate = await fate_of(submit(agent))
        assert (fate.kind, fate.why) == ("refused", "the spool's disk fails: disk I/O error")
        await reached(lambda: agent.safekeeping.note_state().name == "blocking")
        monkeypatch.undo()
        assert await fate_of(submit(agent)) is SPOOLED

    run(scenario, critical=False)


def test_a_disk_that_does_not_answer_is_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_: Spool) -> None:
        await asyncio.Event().wait()

    async def scenario(agent: Agent, port: Port) -> None:
        port.connected.clear()
        assert "did not answer in time" in (await fate_of(submit(agent))).why

    monkeypatch.setattr(Spool, "run", never)
    run(scenario, critical=False, deadline_seconds=0.2)


def hold_writes(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Have the disk answer only once the event is set."""
    goes_on = threading.Event()
    append = SpoolFile.append

    def slowly(file: SpoolFile, contents: Sequence[bytes]) -> int:
        place = append(file, contents)
        goes_on.wait(10)
        return place

    monkeypatch.setattr(SpoolFile, "append", slowly)
    return goes_on


@pytest.mark.parametrize("begun", [True, False], ids=["its write had begun", "its write had not begun"])
def test_an_im_that_was_refused_before_the_disk_had_it_is_not_sent(
    monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    """It was not delivered; sent, it would be archived beside what was said, and differ from the records."""
    goes_on = hold_writes(monkeypatch)

    async def scenario(agent: Agent, port: Port) -> None:
        port.connected.clear()
        if not begun:
            submit(agent, "in the way")
            await reached(lambda: agent.safekeeping.spooled == 1)
        im_id = make_id()
        assert "did not answer in time" in (await fate_of(submit(agent, "of old", im_id))).why
        goes_on.set()
        assert await fate_of(submit(agent, "again", im_id)) is SPOOLED
        port.connected.set()
        await reached(lambda: agent.safekeeping.spooled == 0)
        assert [im.body for im in port.confirmed] == ["again"]

    run(scenario, critical=False, deadline_seconds=0.2)


def test_an_im_that_is_confirmed_before_the_disk_had_it_counts_as_it_was_confirmed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    goes_on = hold_writes(monkeypatch)

    async def scenario(agent: Agent, port: Port) -> None:
        waiting = agent.safekeeping._waiting
        port.gate.clear()
        slow = submit(agent)
        await reached(lambda: bool(waiting.under_way))
        for pending in waiting.under_way:
            pending.deadline = 0  # as if it had waited for long
        await reached(lambda: bool(waiting.to_disk))
        port.gate.set()
        assert await fate_of(slow) is CONFIRMED
        goes_on.set()
        await reached(lambda: not waiting.to_disk and agent.safekeeping.spooled == 0)
        await agent.drain()
        assert [im.seq for im in port.confirmed] == [1]
        assert [each.uncounted for each in port.statements if each.uncounted] == []

    run(scenario, critical=False, deadline_seconds=30)


def test_a_critical_pool_never_spools() -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        port.connected.clear()
        assert (await fate_of(submit(agent))).kind == "refused"
        await reached(lambda: agent.safekeeping.note_state().name == "blocking")
        assert agent.safekeeping.spooled == 0

    run(scenario, deadline_seconds=0.2)


def test_trouble_passes_without_any_im() -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        assert (await fate_of(submit(agent))).kind == "refused"
        await reached(lambda: agent.safekeeping.note_state().name == "blocking")
        port.fates = []
        await reached(lambda: agent.safekeeping.note_state().name == "normal")

    run(scenario, *[RefusedError] * 1000, deadline_seconds=0.2)


def test_a_slot_belongs_to_one_and_is_adopted_when_it_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frontend.safekeeping._ADOPT_SECONDS", 0.05)

    agents: list[UUID] = []

    async def lost(agent: Agent, port: Port) -> None:
        agents.append(agent.safekeeping.id)
        assert await fate_of(submit(agent)) is CONFIRMED
        port.connected.clear()
        assert await fate_of(submit(agent, "left")) is SPOOLED

    async def heir(agent: Agent, port: Port) -> None:
        await reached(lambda: len(port.confirmed) == 1)
        assert port.confirmed[0].body == "left"
        await reached(lambda: (agents[0], 1) in [(each.agent, each.confirmed) for each in port.statements])

    run(lost, critical=False, folder=tmp_path / "1")
    with pytest.raises(BlockingIOError):
        held = Slot(tmp_path / "1")
        try:
            Slot(tmp_path / "1")
        finally:
            held.release()
    run(heir, critical=False, folder=tmp_path / "2")


def test_a_spool_is_adopted_without_counting_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frontend.safekeeping._ADOPT_SECONDS", 0.05)
    (tmp_path / "1").mkdir()
    Slot(tmp_path / "1").release()
    left = SpoolFile(tmp_path / "1" / "spool.sqlite")
    left.append([encode_spooled(str(number)) for number in range(3000)])
    left.close()
    opened: list[Path] = []
    really_open = SpoolFile.__init__

    def note(file: SpoolFile, path: Path, ballast_bytes: int = 0) -> None:
        opened.append(path)
        really_open(file, path, ballast_bytes)

    monkeypatch.setattr(SpoolFile, "__init__", note)

    async def scenario(agent: Agent, port: Port) -> None:
        await reached(lambda: len(port.confirmed) == 3000 and agent.safekeeping.spooled == 0)
        assert [im.body for im in port.confirmed] == [str(number) for number in range(3000)]
        assert opened.count(tmp_path / "1" / "spool.sqlite") == 1

    run(scenario, critical=False, folder=tmp_path / "2")


def test_ims_keep_their_order_when_their_deadline_strikes() -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        port.gate.clear()
        receipts = [submit(agent, str(number)) for number in range(9)]
        await asyncio.sleep(0.2)  # thus the second message is given up by the deadline, not by its publish
        port.closes_after = 1
        port.gate.set()
        kinds = [(await fate_of(receipt)).kind for receipt in receipts]
        assert kinds == ["confirmed"] * 2 + ["spooled"] * 7  # two of these were under way
        port.gate.set()
        await reached(lambda: agent.safekeeping.spooled == 0)
        assert [im.body for im in port.confirmed][-7:] == [str(number) for number in range(2, 9)]

    run(scenario, critical=False, publish_ims=2, deadline_seconds=0.5)


def test_in_a_critical_pool_ims_go_ahead_of_what_is_in_the_spool() -> None:
    policies = Policies(critical=False)

    async def scenario(agent: Agent, port: Port) -> None:
        port.connected.clear()
        receipts = [submit(agent, str(number)) for number in range(3000)]
        assert {await fate_of(receipt) for receipt in receipts} == {SPOOLED}
        policies.make_critical(True)
        port.gate.clear()
        port.connected.set()
        await asyncio.sleep(0)
        receipt = submit(agent, "new")
        port.gate.set()
        assert await fate_of(receipt) is CONFIRMED
        assert agent.safekeeping.spooled > 2000
        assert (agent.safekeeping.note_state().name, agent.safekeeping.note_state().why) == (
            "spooling",
            "the broker is back: the spool is being sent",
        )
        await reached(lambda: agent.safekeeping.spooled == 0)
        bodies = [im.body for im in port.confirmed]
        bodies.remove("new")
        assert bodies == [str(number) for number in range(3000)]

    run(scenario, policies=policies, publish_ims=100, deadline_seconds=5)


def test_in_a_critical_pool_the_spool_is_sent_though_ims_never_stop() -> None:
    policies = Policies(critical=False)

    async def scenario(agent: Agent, port: Port) -> None:
        port.connected.clear()
        for number in range(300):
            assert await fate_of(submit(agent, str(number))) is SPOOLED
        policies.make_critical(True)
        port.connected.set()
        while agent.safekeeping.spooled:
            receipts = [submit(agent, "new") for _ in range(50)]
            assert {await fate_of(receipt) for receipt in receipts} == {CONFIRMED}
            await asyncio.sleep(0.001)  # a load that leaves the spool's thread some of the interpreter

    run(scenario, policies=policies, publish_ims=10)


@pytest.mark.parametrize("critical", [True, False])
def test_ims_go_ahead_of_a_spool_that_cannot_be_read_and_the_state_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, critical: bool
) -> None:
    monkeypatch.setattr("frontend.spool.sender._DISK_SECONDS", 0.05)
    file = SpoolFile(tmp_path / "spool.sqlite")
    file.append([encode_spooled("old")])
    file.close()

    def fail(*_: object) -> None:
        raise sqlite3.DatabaseError("database disk image is malformed")

    monkeypatch.setattr(SpoolFile, "first", fail)

    async def scenario(agent: Agent, port: Port) -> None:
        assert await fate_of(submit(agent, "new")) is CONFIRMED
        await reached(lambda: "malformed" in agent.safekeeping.note_state().why)
        assert agent.safekeeping.note_state().name == "spooling"
        monkeypatch.undo()
        await reached(lambda: agent.safekeeping.note_state().name == "normal")
        assert [im.body for im in port.confirmed] == ["new", "old"]

    run(scenario, critical=critical, folder=tmp_path)


def test_what_cannot_be_taken_out_is_not_published_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frontend.spool.sender._DISK_SECONDS", 0.01)
    tries: list[object] = []

    def fail(*arguments: object) -> None:
        tries.append(arguments)
        raise sqlite3.OperationalError("disk I/O error")

    async def scenario(agent: Agent, port: Port) -> None:
        port.connected.clear()
        for number in range(20):
            assert await fate_of(submit(agent, str(number))) is SPOOLED
        with monkeypatch.context() as broken:
            broken.setattr(SpoolFile, "remove", fail)
            port.connected.set()
            await reached(lambda: len(tries) > 3)
            assert "disk I/O error" in agent.safekeeping.note_state().why
        await reached(lambda: agent.safekeeping.note_state().name == "normal")
        assert [im.body for im in port.confirmed] == [str(number) for number in range(20)]

    run(scenario, critical=False, folder=tmp_path, publish_ims=10)


def test_nothing_is_numbered_once_an_agent_has_said_how_far_it_got(tmp_path: Path) -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        port.connected.clear()
        receipts = [submit(agent, str(number)) for number in range(3000)]
        assert {await fate_of(receipt) for receipt in receipts} == {SPOOLED}
        port.connected.set()
        await reached(lambda: agent.safekeeping.confirmed >= 100)
        await agent.drain()
        [statement] = [each for each in port.statements if each.ended]
        confirmed = len(port.confirmed)
        assert (statement.agent, statement.confirmed) == (agent.safekeeping.id, confirmed)
        assert confirmed < 3000
        assert not (tmp_path / "agents").exists()
        await asyncio.sleep(0.2)  # whatever would still be published is by then
        assert len(port.confirmed) == confirmed

    run(scenario, critical=False, folder=tmp_path, publish_ims=10, deadline_seconds=5)


def test_an_agent_is_not_stated_before_it_is_known_what_became_of_its_last_publish() -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        port.connected.clear()
        assert await fate_of(submit(agent)) is SPOOLED
        port.gate.clear()
        port.connected.set()
        await reached(
            lambda: (
                agent.safekeeping.note_state().name == "spooling"
                and "being sent" in agent.safekeeping.note_state().why
            )
        )
        await asyncio.sleep(0.05)
        draining = asyncio.create_task(agent.drain())
        await asyncio.sleep(0.05)
        assert port.statements == []
        port.gate.set()
        await draining
        assert [(each.confirmed, each.ended) for each in port.statements] == [(1, True)]

    run(scenario, critical=False, deadline_seconds=5)


def test_a_disk_that_keeps_no_number_stops_no_im(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "pwrite", fail)

    async def scenario(agent: Agent, port: Port) -> None:
        for _ in range(3):
            assert await fate_of(submit(agent)) is CONFIRMED
        assert [im.seq for im in port.confirmed] == [1, 2, 3]
        assert sum("numbers can't be kept" in record.message for record in caplog.records) == 1

    run(scenario)


def test_a_connection_that_is_gone_is_not_called_a_full_queue() -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        receipt = submit(agent)
        whys = set()
        while receipt.fate is None:
            whys.add(agent.safekeeping.note_state().why)
            await asyncio.sleep(0.01)
        assert receipt.fate is CONFIRMED
        assert whys == {"the broker confirms"}

    run(scenario, *[UnreachableError] * 5)


def test_ims_go_ahead_of_a_full_spool_and_none_is_refused_once_the_broker_is_back() -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        port.connected.clear()
        while "full" not in (await fate_of(submit(agent))).why:
            pass
        assert agent.safekeeping.spooled > 2000
        port.connected.set()
        while agent.safekeeping.spooled:
            receipts = [submit(agent, "x" * 500) for _ in range(20)]
            assert "refused" not in {(await fate_of(receipt)).kind for receipt in receipts}
            await asyncio.sleep(0.001)  # a load that leaves the spool's thread some of the interpreter
        await reached(lambda: agent.safekeeping.note_state().name == "normal")

    run(scenario, critical=False, spool_max_bytes=1_200_000, publish_ims=100)
