"""A front end whose files on disk are damaged: it starts, takes IMs, and sends what can still be read."""

import errno
import os
import shutil
import sqlite3
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frontend.agent import Agent
from frontend.receipt import CONFIRMED, SPOOLED
from frontend.spool.file import SpoolFile
from frontend.spool.rescue import files_aside, log_of, read_rows, set_aside
from tests.unit.agent_port import Port, encode_spooled, fate_of, reached, run, submit

NAMES = ("spool.sqlite", "spool.sqlite-wal", "agents", "lock", "ballast", "pool")


def _spool(folder: Path, contents: Sequence[bytes], *, killed: bool) -> None:
    """Leave a spool as a process does that ends, or is killed."""
    folder.mkdir()
    file = SpoolFile(folder / "work.sqlite")
    for start in range(0, len(contents), 20):
        file.append(contents[start : start + 20])
    if not killed:
        file.close()
    for path in (folder / "work.sqlite", log_of(folder / "work.sqlite")):
        if path.exists():
            shutil.copy(path, folder / path.name.replace("work", "spool"))
    if killed:
        file.close()
    (folder / "work.sqlite").unlink()


def _read(path: Path) -> list[bytes]:
    file = SpoolFile(path)
    try:
        return [row.content for row in file.first(1 << 20, 1 << 30) if row.whole]
    finally:
        file.close()


@pytest.mark.parametrize("killed", [True, False])
def test_a_spool_that_sqlite_cannot_open_is_set_aside_and_its_ims_are_sent(
    tmp_path: Path, killed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "1"
    _spool(folder, [encode_spooled(str(number)) for number in range(200)], killed=killed)
    for path in folder.glob("spool.sqlite*"):
        damaged = bytearray(path.read_bytes())
        damaged[:64] = os.urandom(64)
        path.write_bytes(damaged)
    before = (folder / "spool.sqlite").read_bytes()

    async def scenario(agent: Agent, port: Port) -> None:
        assert await fate_of(submit(agent, "new")) in (CONFIRMED, SPOOLED)
        await reached(lambda: agent.safekeeping.spooled == 0 and len(port.confirmed) >= 200)
        bodies = [im.body for im in port.confirmed]
        bodies.remove("new")
        assert bodies == [str(number) for number in range(200)]
        await reached(lambda: "damaged" in agent.safekeeping.left.get("1", ""))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("frontend.safekeeping._ADOPT_SECONDS", 0.05)
        run(scenario, critical=False, folder=folder)
    [aside] = files_aside(folder / "spool.sqlite")
    assert aside.read_bytes() == before
    assert any("set aside" in record.message for record in caplog.records)

    async def again(agent: Agent, port: Port) -> None:
        await reached(lambda: agent.safekeeping.note_state().name == "normal")
        assert port.confirmed == []

    run(again, critical=False, folder=folder)


def test_what_cannot_be_rescued_at_first_is_told_of_and_rescued_once_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frontend.safekeeping._ADOPT_SECONDS", 0.05)
    folder = tmp_path / "1"
    _spool(folder, [encode_spooled(str(number)) for number in range(200)], killed=False)
    aside = set_aside(folder / "spool.sqlite")
    log_of(aside).mkdir()

    async def scenario(agent: Agent, port: Port) -> None:
        await reached(lambda: "can't be taken over" in agent.safekeeping.left.get("1", ""))
        assert (agent.safekeeping.note_state().name, port.confirmed) == ("spooling", [])
        assert await fate_of(submit(agent, "new")) is CONFIRMED
        log_of(aside).rmdir()
        await reached(lambda: len(port.confirmed) == 201 and agent.safekeeping.note_state().name == "normal")
        assert [im.body for im in port.confirmed[1:]] == [str(number) for number in range(200)]
        assert "was taken over" in agent.safekeeping.left["1"]

    run(scenario, folder=folder)


def test_what_was_rescued_is_not_sent_again_when_the_spool_is_damaged_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frontend.safekeeping._ADOPT_SECONDS", 0.05)
    folder = tmp_path / "1"
    _spool(folder, [encode_spooled(str(number)) for number in range(100)], killed=False)

    async def sent(agent: Agent, port: Port) -> None:
        await reached(lambda: agent.safekeeping.spooled == 0 and len(port.confirmed) == 100)
        await reached(lambda: len(list(folder.glob("*.sent"))) == 2)

    async def sends_nothing(agent: Agent, port: Port) -> None:
        assert (agent.safekeeping.spooled, port.confirmed) == (0, [])

    _damage(folder)
    assert len(_read(folder / "spool.sqlite")) == 100
    for scenario in (sent, sends_nothing):
        _damage(folder)
        run(scenario, folder=folder)


def _damage(folder: Path) -> None:
    with (folder / "spool.sqlite").open("r+b") as file:
        file.write(os.urandom(64))


def test_damage_found_while_running_is_set_aside_and_what_can_be_read_is_sent_once(tmp_path: Path) -> None:
    async def scenario(agent: Agent, port: Port) -> None:
        port.connected.clear()
        bodies = [f"{number} " + "x" * 1500 for number in range(3000)]  # more than SQLite has in memory
        receipts = [submit(agent, body) for body in bodies]
        assert {await fate_of(receipt) for receipt in receipts} == {SPOOLED}
        with (tmp_path / "spool.sqlite").open("r+b") as file:
            for page in range(40, 1000, 40):
                file.seek(page * 4096)
                file.write(b"\xff")  # no page begins so
        assert await fate_of(submit(agent, "last")) is SPOOLED
        port.connected.set()
        await reached(lambda: agent.safekeeping.note_state().name == "normal")
        sent = [im.body for im in port.confirmed]
        assert len(set(sent)) == len(sent) > 2900
        assert sent == sorted(sent, key=[*bodies, "last"].index)
        assert sent[-1] == "last"
        assert await fate_of(submit(agent, "new")) is CONFIRMED

    run(scenario, critical=False, folder=tmp_path, publish_ims=100, deadline_seconds=5)
    assert len(files_aside(tmp_path / "spool.sqlite")) == 1


@pytest.mark.parametrize("end", [".sqlite", ".sqlite-wal"])
def test_of_a_running_front_ends_spool_on_a_bad_sector_all_else_is_sent_once_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    monkeypatch.setattr("frontend.safekeeping._ADOPT_SECONDS", 0.05)
    monkeypatch.setattr("frontend.spool.sender._DISK_SECONDS", 0.01)
    monkeypatch.setattr("frontend.spool.file._PATIENCE_SECONDS", 0.05)

    async def scenario(agent: Agent, port: Port) -> None:
        port.connected.clear()
        bodies = [f"{number} " + "x" * 3000 for number in range(1200)]  # more than SQLite has in memory
        for some in (bodies[:1100], bodies[1100:]):  # the latter stand in the log alone
            receipts = [submit(agent, body) for body in some]
            assert {await fate_of(receipt) for receipt in receipts} == {SPOOLED}
        _lay_on_bad_sector(tmp_path / f"spool{end}", monkeypatch)
        port.connected.set()
        await reached(lambda: agent.safekeeping.note_state().name == "normal")
        await reached(lambda: "was taken over" in agent.safekeeping.left.get(tmp_path.name, ""))
        sent = [im.body for im in port.confirmed]
        assert len(set(sent)) == len(sent)
        assert sent == sorted(sent, key=bodies.index)
        assert 1150 < len(sent) < 1200
        assert await fate_of(submit(agent, "new")) is CONFIRMED

    run(scenario, critical=False, folder=tmp_path, publish_ims=100, deadline_seconds=5)
    assert len(files_aside(tmp_path / "spool.sqlite")) == 1
    [told] = [record for record in caplog.records if "were rescued" in record.message]
    assert "Input/output error" in vars(told)["unread"]


def test_a_damaged_spool_that_finds_no_new_file_at_once_is_sent_once_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frontend.spool.sender._DISK_SECONDS", 0.01)

    def fail(path: Path) -> str:
        raise OSError(errno.EIO, "Input/output error")

    async def scenario(agent: Agent, port: Port) -> None:
        port.connected.clear()
        bodies = [f"{number} " + "x" * 3000 for number in range(1200)]
        for some in (bodies[:-1], bodies[-1:]):  # the last begins a new log, so the others are in the file
            receipts = [submit(agent, body) for body in some]
            assert {await fate_of(receipt) for receipt in receipts} == {SPOOLED}
        with (tmp_path / "spool.sqlite").open("r+b") as file:
            file.seek(40 * 4096)
            file.write(b"\xff")
        with monkeypatch.context() as broken:
            broken.setattr("frontend.spool.file.check_header", fail)
            port.connected.set()
            await reached(lambda: "Input/output error" in agent.safekeeping.disk_trouble)
            assert files_aside(tmp_path / "spool.sqlite")
        await reached(lambda: agent.safekeeping.note_state().name == "normal")
        sent = [im.body for im in port.confirmed]
        assert 1150 < len(sent) < 1200
        assert sent == sorted(set(sent), key=bodies.index)

    run(scenario, critical=False, folder=tmp_path, publish_ims=100, deadline_seconds=5)


def test_a_long_log_is_read_without_holding_it(tmp_path: Path) -> None:
    file = SpoolFile(tmp_path / "spool.sqlite")
    file._connection.execute("PRAGMA wal_autocheckpoint = 0")  # as on a disk that takes no page back
    contents = [b"%d" % number + b"x" * 60_000 for number in range(24)]
    for content in contents:
        file.append([content])
    assert log_of(tmp_path / "spool.sqlite").stat().st_size > 1_400_000
    tracemalloc.start()
    try:
        assert all(
            row.content == content
            for row, content in zip(read_rows(tmp_path / "spool.sqlite"), contents, strict=True)
        )
        assert tracemalloc.get_traced_memory()[1] < 700_000
    finally:
        tracemalloc.stop()
        file.close()


def _lay_on_bad_sector(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have SQLite, which has a file open, read nothing of it any more, and others not some of its pages."""
    nowhere = os.open("/proc/self/mem", os.O_RDONLY)  # it has no first pages: to read them is EIO
    for descriptor in Path("/proc/self/fd").iterdir():
        if descriptor.is_symlink() and descriptor.readlink() == path:
            os.dup2(nowhere, int(descriptor.name), inheritable=False)
    os.close(nowhere)
    read, end = os.pread, path.suffix

    def read_badly(descriptor: int, size: int, offset: int) -> bytes:
        if Path(f"/proc/self/fd/{descriptor}").readlink().suffix == end and 10 < offset // 4096 < 20:
            raise OSError(errno.EIO, "Input/output error")
        return read(descriptor, size, offset)

    monkeypatch.setattr("os.pread", read_badly)


def test_a_row_that_is_altered_is_not_sent(tmp_path: Path) -> None:
    file = SpoolFile(tmp_path / "spool.sqlite")
    file.append([encode_spooled("sell at nine"), encode_spooled("two")])
    file.close()
    content = (tmp_path / "spool.sqlite").read_bytes()
    (tmp_path / "spool.sqlite").write_bytes(content.replace(b"sell at nine", b"sell at noon"))

    async def scenario(agent: Agent, port: Port) -> None:
        await reached(lambda: agent.safekeeping.spooled == 0 and len(port.confirmed) == 1)
        assert port.confirmed[0].body == "two"

    run(scenario, critical=False, folder=tmp_path)
    with sqlite3.connect(tmp_path / "spool.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM unreadable").fetchone() == (1,)
    connection.close()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(["spool.sqlite", "spool.sqlite-wal"]),
    number=st.sampled_from([1, 30, 300]),
    killed=st.booleans(),
    removed=st.sampled_from([0, 0, 10]),
    damages=st.lists(
        st.tuples(st.floats(0, 1), st.sampled_from([1, 8, 64]), st.randoms(use_true_random=False)),
        min_size=1,
        max_size=3,
    ),
)
def test_whatever_bytes_are_overwritten_a_spool_opens_and_keeps_nearly_all(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    number: int,
    killed: bool,
    removed: int,
    damages: list[tuple[float, int, object]],
) -> None:
    folder = tmp_path_factory.mktemp("case") / "1"
    contents = [encode_spooled(f"{each} " + "x" * (each % 7 * 300)) for each in range(number)]
    _spool(folder, contents, killed=killed)
    if removed and removed < number:
        file = SpoolFile(folder / "spool.sqlite")
        file.remove(file.first(removed, 1 << 30))
        file.close()
    else:
        removed = 0
    path = folder / name
    pages = 0
    if path.exists() and path.stat().st_size:
        content = bytearray(path.read_bytes())
        for where, length, source in damages:
            start = int(where * (len(content) - 1))
            some = bytes(source.getrandbits(8) for _ in content[start : start + length])  # type: ignore[attr-defined]
            content[start : start + length] = some
            pages += 2
        path.write_bytes(content)
    found = _read(folder / "spool.sqlite")
    assert len(set(found)) == len(found)
    assert set(found) <= set(contents[removed:])
    assert found == sorted(found, key=contents.index)
    assert len(contents) - removed - len(found) <= pages * 10  # what one page holds
    file = SpoolFile(folder / "spool.sqlite")
    file.append([b"{}"])
    assert file.first(1 << 20, 1 << 30)[-1].content == b"{}"
    file.close()


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    damages=st.lists(
        st.tuples(st.sampled_from(NAMES), st.floats(0, 1), st.binary(min_size=64, max_size=64)),
        min_size=1,
        max_size=4,
    )
)
def test_a_front_end_on_a_damaged_slot_takes_ims_and_sends_each_that_it_can_read_once(
    tmp_path_factory: pytest.TempPathFactory, damages: list[tuple[str, float, bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("case") / "1"
    _spool(folder, [encode_spooled(str(number)) for number in range(100)], killed=True)

    (folder / "agents").write_text("01890000-0000-7000-8000-000000000000 00000000000000000007\n")
    for name, where, some in damages:
        if (folder / name).exists():
            content = bytearray((folder / name).read_bytes())
            start = int(where * max(len(content) - 1, 0))
            content[start : start + len(some)] = some[: len(content) - start]
            (folder / name).write_bytes(content)

    async def scenario(agent: Agent, port: Port) -> None:
        assert await fate_of(submit(agent, "new")) in (CONFIRMED, SPOOLED)
        await reached(lambda: agent.safekeeping.spooled == 0 and "new" in [im.body for im in port.confirmed])
        bodies = [im.body for im in port.confirmed]
        assert len(set(bodies)) == len(bodies)
        assert len(bodies) > 100 - 10 * 2 * len(damages)
        assert await fate_of(submit(agent, "newer")) is CONFIRMED

    run(scenario, critical=False, folder=folder)
