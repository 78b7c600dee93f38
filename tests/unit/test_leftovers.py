"""Processes that a killed stack left: ended by what their files say, and nobody else is."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.local.process import Process, kill_leftovers, works_in

_SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]


@contextmanager
def somebody_elses_group() -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads a group and works elsewhere, as a daemon does."""
    process = subprocess.Popen(_SLEEPS, start_new_session=True, cwd="/")
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_what_a_killed_stack_left_is_ended(tmp_path: Path) -> None:
    process = Process("fe1", _SLEEPS, tmp_path / "processes")
    assert kill_leftovers(tmp_path) == ["fe1"]
    assert not process.alive
    assert not list(tmp_path.rglob("*.group"))


def test_a_process_that_has_a_number_of_before_the_reboot_goes_on(tmp_path: Path) -> None:
    with somebody_elses_group() as stranger:
        (tmp_path / "fe1.group").write_text(f"{stranger.pid}\n")
        assert kill_leftovers(tmp_path) == []
        assert stranger.poll() is None
    assert not list(tmp_path.rglob("*.group"))


def test_a_copy_of_the_folder_ends_nothing_of_the_stack_that_runs_in_the_first(tmp_path: Path) -> None:
    process = Process("fe1", _SLEEPS, tmp_path / "first")
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "fe1.group").write_text((tmp_path / "first" / "fe1.group").read_text())
    try:
        assert kill_leftovers(copy) == []
        assert process.alive
    finally:
        process.kill()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\0\0\0\0\0", id="zeros"),
        pytest.param(b"99999999999999999999\n", id="no number of a process"),
        pytest.param(b"\xff\xfe", id="no text"),
    ],
)
def test_a_file_that_a_power_cut_spoiled_is_removed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "fe1.group").write_bytes(content)
    assert kill_leftovers(tmp_path) == []
    assert not list(tmp_path.rglob("*.group"))


def test_a_process_whose_number_cannot_be_kept_does_not_go_on(tmp_path: Path) -> None:
    (tmp_path / "fe1.group").symlink_to("/dev/full")
    before = running_in(tmp_path)
    with pytest.raises(OSError, match="No space left"):
        Process("fe1", _SLEEPS, tmp_path)
    assert running_in(tmp_path) == before == []


def running_in(folder: Path) -> list[int]:
    """Return the numbers of the processes that work in a folder."""
    numbers = [int(each.name) for each in Path("/proc").glob("[0-9]*")]
    return [number for number in numbers if works_in(number, folder)]
