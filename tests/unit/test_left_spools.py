"""What front ends left is sent once, in order, under the pool that answered it, or is told of."""

import asyncio
import errno
import os
import random
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.message import MAX_SEQ
from frontend.agent import Agent
from frontend.agents_file import read_agents
from frontend.config import FrontEndSettings
from frontend.receipt import CONFIRMED, SPOOLED
from frontend.spool.file import SpoolFile
from frontend.spool.left import LeftFile
from frontend.spool.rescue import Row, log_of, read_rows
from frontend.spool.slot import Slot, take_slot
from frontend.spool.spool import Spool
from tests.unit.agent_port import Port, encode_spooled, fate_of, reached, run, submit

BODIES = [str(number) for number in range(300)]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontend.safekeeping._ADOPT_SECONDS", 0.05)
    monkeypatch.setattr("frontend.spool.adoption._AGAIN_SECONDS", 0.05)


def _leave(folder: Path, bodies: list[str], pool: str = "pool1") -> None:
    """Leave a slot with IMs."""
    slot = Slot(folder)
    slot.name_pool(pool)
    left = SpoolFile(folder / "spool.sqlite")
    left.append([encode_spooled(body, pool) for body in bodies])
    left.close()
    slot.release()


def _keep_rows(folder: Path) -> None:
    """Have nothing taken out of a spool, whoever tries."""
    connection = sqlite3.connect(folder / "spool.sqlite", isolation_level=None)
    connection.execute(
        "CREATE TRIGGER keep BEFORE DELETE ON spool BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END"
    )
    connection.close()


def _give_rows(folder: Path) -> None:
    connection = sqlite3.connect(folder / "spool.sqlite", isolation_level=None)
    connection.execute("DROP TRIGGER keep")
    connection.close()


def test_left_spools_for_which_there_is_no_room_at_once_are_sent_one_after_another(tmp_path: Path) -> None:
    for number in range(1, 4):
        _leave(tmp_path / str(number), BODIES)

    async def scenario(agent: Agent, port: Port) -> None:
        await reached(lambda: len(port.confirmed) == 900)

    run(scenario, critical=False, folder=tmp_path / "4", spool_max_bytes=20_000, publish_ims=10)


@pytest.mark.parametrize("critical", [True, False])
def test_what_cannot_be_taken_out_of_a_left_spool_is_sent_once_in_order(
    tmp_path: Path, critical: bool
) -> None:
    _leave(tmp_path / "1", BODIES)
    _keep_rows(tmp_path / "1")

    async def scenario(agent: Agent, port: Port) -> None:
        for _ in range(50):  # traffic that never pauses
            assert await fate_of(submit(agent, "new")) in (CONFIRMED, SPOOLED)
        await reached(lambda: len(port.confirmed) >= 350 and agent.safekeeping.spooled == 0)
        await reached(lambda: "disk I/O error" in agent.safekeeping.left.get("1", ""))
        await reached(lambda: agent.safekeeping.note_state().name == "normal")
        await asyncio.sleep(0.5)  # it would come again by then
        assert [im.body for im in port.confirmed if im.body != "new"] == BODIES

    async def mended(agent: Agent, port: Port) -> None:
        await reached(lambda: not agent.safekeeping.left and _count(tmp_path / "1") == 0)
        assert port.confirmed == []

    run(scenario, critical=critical, folder=tmp_path / "2")
    assert _count(tmp_path / "1") == 300
    run(mended_not_yet, critical=critical, folder=tmp_path / "2")
    _give_rows(tmp_path / "1")
    run(mended, critical=critical, folder=tmp_path / "2")


async def mended_not_yet(agent: Agent, port: Port) -> None:
    """A front end that starts again knows what it has copied."""
    await reached(lambda: "1" in agent.safekeeping.left)
    assert (port.confirmed, agent.safekeeping.spooled) == ([], 0)


def _count(folder: Path) -> int:
    connection = sqlite3.connect(f"file:{folder / 'spool.sqlite'}?mode=ro&immutable=1", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM spool").fetchone()[0])
    finally:
        connection.close()


def test_another_file_of_the_same_name_is_copied_from_its_beginning(tmp_path: Path) -> None:
    _leave(tmp_path / "1", BODIES)
    _keep_rows(tmp_path / "1")

    async def copied(agent: Agent, port: Port) -> None:
        await reached(lambda: len(port.confirmed) == 300 and agent.safekeeping.note_state().name == "normal")

    async def copied_too(agent: Agent, port: Port) -> None:
        await reached(lambda: len(port.confirmed) == 300 and agent.safekeeping.note_state().name == "normal")
        assert [im.body for im in port.confirmed] == [f"other {body}" for body in BODIES]

    run(copied, critical=False, folder=tmp_path / "2")
    (tmp_path / "1" / "spool.sqlite").unlink()
    _leave(tmp_path / "1", [f"other {body}" for body in BODIES])
    run(copied_too, critical=False, folder=tmp_path / "2")


def test_a_left_spool_that_nobody_may_write_is_read_and_sent_once(tmp_path: Path) -> None:
    _leave(tmp_path / "1", BODIES)
    spool = str(tmp_path / "1" / "spool.sqlite")
    keep, give = ["chattr", "+i", spool], ["chattr", "-i", spool]
    if shutil.which("chattr") is None or subprocess.run(keep, check=False, capture_output=True).returncode:
        pytest.skip("only root may do that, and not on every file system")

    async def scenario(agent: Agent, port: Port) -> None:
        await reached(lambda: len(port.confirmed) == 300 and agent.safekeeping.spooled == 0)
        await reached(lambda: "can't be written" in agent.safekeeping.left.get("1", ""))
        await asyncio.sleep(0.3)  # it would come again by then
        assert [im.body for im in port.confirmed] == BODIES

    try:
        run(scenario, critical=True, folder=tmp_path / "2")
    finally:
        subprocess.run(give, check=True)


def test_a_long_left_spool_that_nobody_may_write_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _leave(tmp_path / "1", [f"{number} {'x' * 1000}" for number in range(6000)])
    readings = []

    def read(path: Path, after: int = 0, unread: list[OSError] | None = None) -> Iterator[Row]:
        readings.append(after)
        return read_rows(path, after, unread)

    def refuse(path: Path) -> None:
        raise sqlite3.OperationalError("attempt to write a readonly database")

    monkeypatch.setattr("frontend.spool.left.read_rows", read)
    monkeypatch.setattr("frontend.spool.left.SpoolFile", refuse)
    left = LeftFile(tmp_path / "1" / "spool.sqlite")
    left.open()
    left.next_rows(1, 1)
    places = []
    while rows := left.next_rows(1000, 100_000):
        assert sum(len(row.content) for row in rows) < 110_000
        places += [row.place for row in rows]
        left.pass_by(places[-1])
    left.close()
    assert places == list(range(1, 6001))
    assert len(readings) < 6


def test_of_a_left_spool_on_a_bad_sector_all_else_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _leave(tmp_path / "1", BODIES)
    read = os.pread

    def read_badly(descriptor: int, size: int, offset: int) -> bytes:
        if offset == 10 * 4096:
            raise OSError(errno.EIO, "Input/output error")
        return read(descriptor, size, offset)

    def refuse(path: Path) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr("os.pread", read_badly)
    monkeypatch.setattr("frontend.spool.left.SpoolFile", refuse)

    async def scenario(agent: Agent, port: Port) -> None:
        await reached(lambda: len(port.confirmed) >= 280 and agent.safekeeping.spooled == 0)
        await reached(lambda: "a part of it can't be read" in agent.safekeeping.left.get("1", ""))
        sent = [int(im.body) for im in port.confirmed]
        assert sent == sorted(set(sent))
        assert len(sent) < 300

    run(scenario, critical=True, folder=tmp_path / "2")


def test_a_left_spool_that_cannot_be_read_is_told_by_the_state(tmp_path: Path) -> None:
    _leave(tmp_path / "1", BODIES)
    (tmp_path / "1" / "spool.sqlite").rename(tmp_path / "away")
    (tmp_path / "1" / "spool.sqlite").mkdir()

    async def scenario(agent: Agent, port: Port) -> None:
        await reached(
            lambda: (
                agent.safekeeping.note_state().name == "spooling"
                and "slot 1" in agent.safekeeping.note_state().why
            )
        )
        assert await fate_of(submit(agent)) is CONFIRMED
        (tmp_path / "1" / "spool.sqlite").rmdir()
        (tmp_path / "away").rename(tmp_path / "1" / "spool.sqlite")
        await reached(lambda: agent.safekeeping.note_state().name == "normal" and len(port.confirmed) == 301)

    run(scenario, critical=True, folder=tmp_path / "2")


def test_what_is_odd_in_the_state_folder_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "1").write_text("a file")
    (tmp_path / "3" / "lock").mkdir(parents=True)
    (tmp_path / "4" / "agents").mkdir(parents=True)
    (tmp_path / "4" / "lock").touch()
    (tmp_path / "5").symlink_to(tmp_path / "5")
    (tmp_path / "6").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "7")
    (tmp_path / "8").mkdir()
    (tmp_path / "8" / "lock").touch()
    os.mkfifo(tmp_path / "8" / "agents")
    os.mkfifo(tmp_path / "8" / "pool")

    async def scenario(agent: Agent, port: Port) -> None:
        await reached(lambda: {"3", "4"} <= agent.safekeeping.left.keys())
        assert await fate_of(submit(agent)) is CONFIRMED

    slot = take_slot(tmp_path, "pool1", lambda _: None)
    assert slot.folder.name == "2"
    slot.release()
    run(scenario, critical=False, folder=tmp_path / "2")


def test_a_slot_of_another_pool_is_left_alone_and_told_of(tmp_path: Path) -> None:
    _leave(tmp_path / "1", BODIES, "pool2")
    (tmp_path / "1" / "agents").write_text("01890000-0000-7000-8000-000000000000 00000000000000000007\n")

    async def another(agent: Agent, port: Port) -> None:
        await reached(lambda: "1" in agent.safekeeping.left)
        assert "300 IMs and 1 agents" in agent.safekeeping.left["1"]
        assert "'pool2'" in agent.safekeeping.left["1"]
        assert agent.safekeeping.note_state().name == "normal"
        assert (port.confirmed, port.statements) == ([], [])

    async def heir(agent: Agent, port: Port) -> None:
        await reached(lambda: len(port.confirmed) == 300 and not agent.safekeeping.left)
        assert {im.pool for im in port.confirmed} == {"pool2"}
        await reached(lambda: [(each.pool, each.confirmed) for each in port.statements] != [])
        assert port.statements[0].pool == "pool2"

    run(another, critical=False, folder=tmp_path / "2")
    run(heir, critical=False, folder=tmp_path / "3", pool="pool2")


def test_a_slot_of_which_the_label_is_damaged_is_told_by_its_ims(tmp_path: Path) -> None:
    _leave(tmp_path / "1", BODIES, "pool2")
    (tmp_path / "1" / "pool").write_bytes(b"pool1" + os.urandom(8))
    taken = take_slot(tmp_path, "pool1", _use("pool1"))
    assert taken.folder.name == "2"
    taken.release()
    assert take_slot(tmp_path, "pool2", _use("pool2")).folder.name == "1"


def _use(pool: str) -> Any:

    def use(slot: Slot) -> None:
        spool = Spool(FrontEndSettings(amqp_url="amqp://nowhere", connectors_file=Path("none"), pool=pool))
        spool.open(slot)
        spool.close()

    return use


def test_a_left_slot_is_let_go_after_its_file_by_who_ends_while_it_opens_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _leave(tmp_path / "1", BODIES)
    opening, released, order = threading.Event(), threading.Event(), []

    def open_slowly(left: LeftFile) -> None:
        opening.set()
        released.wait(0.3)
        order.append("opened")

    def release(slot: Slot) -> None:
        if slot.folder.name == "1":
            released.set()
            order.append("let go")

    monkeypatch.setattr(LeftFile, "open", open_slowly)
    monkeypatch.setattr(LeftFile, "close", lambda left: order.append("closed"))
    monkeypatch.setattr(Slot, "release", release)

    async def ends(agent: Agent, _port: Port) -> None:
        await reached(opening.is_set)

    run(ends, critical=False, folder=tmp_path / "2")
    assert order == ["opened", "closed", "let go"]


def test_a_slot_that_is_let_go_does_not_change_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next front end that has it would find its log gone while it reads it."""
    close = SpoolFile.close

    def close_slowly(file: SpoolFile) -> None:
        time.sleep(0.2)
        close(file)

    monkeypatch.setattr(SpoolFile, "close", close_slowly)
    taken = take_slot(tmp_path, "pool1", _use("pool1"))
    assert not log_of(taken.folder / "spool.sqlite").exists()


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["pool1", "pool2"]), st.booleans(), st.integers(0, 3), st.booleans()),
        min_size=2,
        max_size=6,
    )
)
def test_each_im_is_sent_under_the_pool_that_answered_it(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, bool, int, bool]]
) -> None:
    """In whichever order front ends of two pools come and go on a volume, with the broker there or not."""
    shared = tmp_path_factory.mktemp("volume")
    answered: list[tuple[str, str]] = []
    sent: list[tuple[str, str]] = []

    def live(pool: str, *, away: bool, ims: int, fresh: bool) -> None:
        async def scenario(agent: Agent, port: Port) -> None:
            if away:
                port.connected.clear()
            for _ in range(ims):
                body = f"{pool} {len(answered)}"
                assert (await fate_of(submit(agent, body))).kind in ("spooled", "confirmed")
                answered.append((pool, body))
            if not away:  # what its pool left is sent: found in the slot, or adopted
                of_pool = sum(each == pool for each, _ in answered)
                before = sum(each == pool for each, _ in sent)
                await reached(lambda: before + len(port.confirmed) >= of_pool)
                await reached(
                    lambda: agent.safekeeping.spooled == 0 and agent.safekeeping.note_state().name == "normal"
                )
            sent.extend((im.pool, im.body) for im in port.confirmed)

        if fresh:
            folder = shared / f"{len(list(shared.iterdir())) + 1}"
        else:
            slot = take_slot(shared, pool, _use(pool))
            slot.release()
            folder = slot.folder
        run(scenario, critical=False, folder=folder, pool=pool, deadline_seconds=5)

    for pool, away, ims, fresh in steps:
        live(pool, away=away, ims=ims, fresh=fresh)
    for pool in ("pool1", "pool2"):
        live(pool, away=False, ims=1, fresh=True)
    assert sorted(sent) == sorted(answered)


def test_damaged_records_of_agents_say_nothing(tmp_path: Path) -> None:
    async def before(agent: Agent, _port: Port) -> None:
        for _ in range(5):
            assert await fate_of(submit(agent)) is CONFIRMED

    run(before, folder=tmp_path)
    [(agent, confirmed)] = read_agents(tmp_path).items()
    assert confirmed == 5
    whole = (tmp_path / "agents").read_bytes()
    for length in range(len(whole)):  # as a power cut leaves it
        (tmp_path / "agents").write_bytes(whole[:length])
        assert read_agents(tmp_path) in ({}, {agent: 5})
    for index in range(len(whole) - 1):
        damaged = bytearray(whole)
        damaged[index] = random.Random(index).choice(b"0123456789")
        (tmp_path / "agents").write_bytes(damaged)
        assert read_agents(tmp_path) in ({}, {agent: 5})


def test_a_number_that_no_agent_reaches_is_not_said(tmp_path: Path) -> None:
    """A front end of before wrote no checksum."""
    good, bad = (f"0189000{number}-0000-7000-8000-000000000000" for number in (0, 1))
    lines = f"{good} {7:020d}\n{bad} {MAX_SEQ + 1:020d}\n"
    (tmp_path / "agents").write_text(lines)
    assert read_agents(tmp_path) == {UUID(good): 7}
