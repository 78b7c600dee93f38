"""Ctrl-C ends ``make up`` at whatever moment: within seconds, without a traceback, and nothing is left."""

import contextlib
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(r"\| +psycopg$", id="the imports"),
        pytest.param("RabbitMQ is starting", id="the wait for the broker"),
        pytest.param("Ctrl-C stops it all", id="all runs"),
    ],
)
def test_ctrl_c_ends_it_within_seconds_and_nothing_is_left(tmp_path: Path, moment: str) -> None:
    # What is imported is told on stderr, by lines that end: "| name".
    command = [sys.executable, "-X", "importtime", "-m", "deploy.local", "--state", str(tmp_path), "up"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as up:
        assert up.stdout is not None
        came = next((line for line in up.stdout if re.search(f"{moment}|Ctrl-C stops", line)), "")
        up.send_signal(signal.SIGINT)
        rest, _ = up.communicate(timeout=30)
    assert re.search(moment, came)
    assert "Traceback" not in rest
    assert up.returncode in (-signal.SIGINT, 128 + signal.SIGINT, 0)
    assert not _running_below(tmp_path)


def _running_below(folder: Path) -> list[str]:
    """Return the command lines of processes that work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append((process / "cmdline").read_text())
    return found
