"""A front end whose disk is full: what is on it is sent and taken out, and nothing is refused needlessly."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from frontend.agent import Agent
from frontend.receipt import CONFIRMED, SPOOLED
from tests.unit.agent_port import Port, fate_of, reached, run, submit

_BODY = "x" * 20_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of the test's own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48m", "lcs-test", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a disk")
    try:
        yield folder
    finally:
        unmount = ["umount", "--lazy", str(folder)]
        subprocess.run(unmount, check=True)


def _eat(disk: Path) -> None:
    """Leave no byte free."""
    file = os.open(disk / "eaten", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        for size in (65_536, 1):
            try:
                while True:
                    os.write(file, b"x" * size)
            except OSError:
                continue
    finally:
        os.close(file)
    assert os.statvfs(disk).f_bavail == 0


async def _fill(agent: Agent, disk: Path) -> int:
    """Have as many IMs spooled as the disk takes; return how many."""
    kept = 0
    for number in (20, 1):
        fate = SPOOLED
        while fate is SPOOLED:
            fates = [await fate_of(receipt) for receipt in [submit(agent, _BODY) for _ in range(number)]]
            kept += fates.count(SPOOLED)
            fate = fates[-1]
        assert "disk" in fate.why
        _eat(disk)
    await reached(
        lambda: (
            agent.safekeeping.note_state().name == "blocking" and "disk" in agent.safekeeping.note_state().why
        )
    )
    return kept


def test_a_full_disk_is_emptied_and_its_ims_are_sent_once(disk: Path) -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        for _ in range(2):
            port.connected.clear()
            kept = await _fill(agent, disk)
            assert kept > 500
            port.confirmed.clear()
            port.connected.set()
            assert await fate_of(submit(agent, "new")) is CONFIRMED
            await reached(lambda: agent.safekeeping.note_state().name == "normal")
            assert len(port.confirmed) == len({im.id for im in port.confirmed}) == kept + 1
            (disk / "eaten").unlink()

    run(scenario, critical=False, folder=disk / "slot")


def test_a_front_end_that_starts_on_a_full_disk_sends_what_is_there(disk: Path) -> None:
    kept: list[int] = []

    async def before(agent: Agent, port: Port) -> None:
        port.connected.clear()
        kept.append(await _fill(agent, disk))

    async def after(agent: Agent, port: Port) -> None:
        await reached(lambda: agent.safekeeping.note_state().name == "normal")
        assert len(port.confirmed) == kept[0]

    run(before, critical=False, folder=disk / "slot")
    _eat(disk)
    run(after, critical=False, folder=disk / "slot")


def test_what_comes_while_a_full_disk_is_emptied_does_not_fill_it_again(disk: Path) -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        port.connected.clear()
        kept = await _fill(agent, disk)
        port.connected.set()
        came = 0
        while agent.safekeeping.spooled:
            receipts = [submit(agent, _BODY) for _ in range(20)]
            kinds = {(await fate_of(receipt)).kind for receipt in receipts}
            assert "refused" not in kinds
            came += 20
            await asyncio.sleep(0.001)  # a load that leaves the spool's thread some of the interpreter
        await reached(lambda: agent.safekeeping.note_state().name == "normal")
        assert len({im.id for im in port.confirmed}) == kept + came

    run(scenario, critical=False, folder=disk / "slot")


def test_ims_are_spooled_again_once_a_disk_has_room(disk: Path) -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        port.connected.clear()
        assert (await fate_of(submit(agent))).kind == "refused"
        await reached(
            lambda: (
                agent.safekeeping.note_state().name == "blocking"
                and "disk is full" in agent.safekeeping.note_state().why
            )
        )
        (disk / "eaten").unlink()
        # Before an IM comes: none may, while it blocks.
        await reached(lambda: agent.safekeeping.note_state().name == "spooling")
        assert await fate_of(submit(agent)) is SPOOLED

    (disk / "slot").mkdir()
    with (disk / "eaten").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, (48 << 20) - 1_000_000)
    run(scenario, critical=False, folder=disk / "slot")


def test_one_front_end_takes_over_what_another_left_on_a_full_disk(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frontend.safekeeping._ADOPT_SECONDS", 0.05)
    kept: list[int] = []

    async def lost(agent: Agent, port: Port) -> None:
        port.connected.clear()
        kept.append(await _fill(agent, disk))

    async def heir(agent: Agent, port: Port) -> None:
        await reached(lambda: len({im.id for im in port.confirmed}) == kept[0])
        await asyncio.sleep(0)
        assert not (disk / "1" / "ballast").exists()

    async def begin(_agent: Agent, _port: Port) -> None:
        """Leave the heir its files."""

    run(begin, critical=False, folder=disk / "2")
    run(lost, critical=False, folder=disk / "1")
    run(heir, critical=False, folder=disk / "2")
