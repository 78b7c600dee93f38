"""The examples of the README and the tour work as pasted, and the first command does what it says."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.systems import Processes

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
TOUR = (ROOT / "docs" / "tour.md").read_text()


@pytest.mark.skipif(shutil.which("curl") is None, reason="the examples need curl")
def test_the_examples_work_as_pasted(processes: Processes) -> None:
    _, usage = TOUR.split("<!-- end: setup -->")
    examples = re.findall(r"```sh\n(.*?)```", usage.split("## Who is archived")[0], re.DOTALL)
    assert len(examples) == 7
    setup = [
        "set -euo pipefail",
        'curl() { command curl --silent --show-error --fail-with-body "$@"; echo; }',
        f"FRONT_END={processes.front_end_urls[0]}",
        f"ADMIN={processes.admin_url}",
        *(
            f'{name}="Authorization: Bearer {processes.tokens[person]}"'
            for name, person in {
                "CONNECTOR": "connector",
                "ADMINISTRATOR": "administrator",
                "OFFICER": "compliance",
                "OPERATOR": "operator",
            }.items()
        ),
    ]
    for example in examples:
        script = "\n".join([*setup, example])
        result = subprocess.run(
            ["/bin/bash", "-c", script], capture_output=True, text=True, timeout=60, check=False
        )
        assert result.returncode == 0, f"{example}\n{result.stdout}\n{result.stderr}"
        assert result.stdout.strip()


@pytest.mark.skipif(shutil.which("curl") is None, reason="the example needs curl")
def test_the_readmes_im_is_archived_as_pasted(processes: Processes, tmp_path: Path) -> None:
    [example] = re.findall(r"```sh\n(curl .*?)```", README, re.DOTALL)
    assert "http://127.0.0.1:8080/" in example
    (tmp_path / ".state").mkdir()
    (tmp_path / ".state" / "up").symlink_to(processes.stack.folder)
    script = example.replace("http://127.0.0.1:8080", processes.front_end_urls[0])
    result = subprocess.run(
        ["/bin/bash", "-euc", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(result.stdout)["archived"] is True


def test_the_demo_shows_an_ims_way_and_its_counts_agree(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deploy.local", "--state", str(tmp_path), "demo"]
    result = subprocess.run(
        command, env=os.environ | {"PYTHONUNBUFFERED": "1"},
        cwd=ROOT, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    way = ["accepted", "decided", "published", "consumed", "committed", "acknowledged", "found"]
    steps = re.findall(rf"^  ({'|'.join(way)}|confirmed) ", result.stdout, re.MULTILINE)[: len(way) + 1]
    assert steps.index("confirmed") > steps.index("published")  # the worker may be faster
    assert [step for step in steps if step != "confirmed"] == way
    counts = re.search(r"accepted (\d+) = archived (\d+) \+ not archived by rule (\d+)", result.stdout)
    assert counts is not None
    accepted, archived, not_archived = map(int, counts.groups())
    assert accepted == archived + not_archived
    assert not_archived > 0
    assert not list(tmp_path.rglob("*.group"))


@pytest.mark.parametrize("server", ["postgres", "rabbitmq"])
def test_a_server_that_ends_by_itself_ends_it_all_and_is_named(tmp_path: Path, server: str) -> None:
    command = [sys.executable, "-m", "deploy.local", "--state", str(tmp_path), "up"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as up:
        assert up.stdout is not None
        assert any("Ctrl-C" in line for line in up.stdout)
        os.killpg(int((tmp_path / "up" / server / f"{server}.group").read_text()), signal.SIGKILL)
        rest, _ = up.communicate(timeout=120)
    assert up.returncode == 1
    log = tmp_path / "up" / server / f"{server}.log"
    assert f"{server} has ended by itself: see {log}" in rest
    assert not list(tmp_path.rglob("*.group"))


def test_what_a_killed_stack_left_is_cleaned_up(tmp_path: Path) -> None:
    state = ["--state", str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "-m", "deploy.local", *state, "up"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as up:
        assert up.stdout is not None
        shown = ""
        while "Ctrl-C" not in shown:
            line = up.stdout.readline()
            assert line, f"ended by itself: {shown}"
            shown += line
        up.kill()
    left = [int(path.read_text()) for path in tmp_path.rglob("*.group")]
    assert len(left) >= 6
    down = subprocess.run(
        [sys.executable, "-m", "deploy.local", *state, "down"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "fe1" in down.stdout
    assert not [pid for pid in left if _is_running(pid)]


def _is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
