"""Ports of stacks that start at one moment, and again."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.ports import Ports
from deploy.local.process import StartError, find_free_port

_TAKE = "import sys; from pathlib import Path; from deploy.local.ports import Ports\n" + (
    "ports = Ports(Path(sys.argv[1]))\n"
    "print(*[ports.take(str(each), int(sys.argv[2]) + each) for each in range(20)], flush=True)\n"
    "sys.stdin.read()"
)


def test_stacks_that_start_at_one_moment_share_no_port(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _TAKE]
    wanted = str(find_free_port())
    stacks = [
        subprocess.Popen(
            [*command, tmp_path / str(number), wanted],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for number in range(2)
    ]  # fmt: skip
    taken = []
    for stack in stacks:
        assert stack.stdout is not None
        taken += stack.stdout.readline().split()
    for stack in stacks:
        stack.communicate()
    assert len(set(taken)) == len(taken) == 40


def test_a_stack_that_starts_again_has_its_ports_again(tmp_path: Path) -> None:
    first = Ports(tmp_path)
    port = first.take("fe1")
    assert first.take("fe1") == port
    first.release()
    assert Ports(tmp_path).take("fe1", 8080) == port


def test_a_port_that_another_program_has_is_said_and_kept_for_later(tmp_path: Path) -> None:
    said: list[str] = []
    first = Ports(tmp_path)
    port = first.take("fe1")
    first.release()
    with socket.create_server(("127.0.0.1", port)):
        second = Ports(tmp_path, said.append)
        assert second.take("fe1") != port
        second.release()
    assert len(said) == 1
    assert f"port {port} is taken" in said[0]
    assert Ports(tmp_path).take("fe1") == port


def test_a_port_asked_for_comes_before_the_one_kept_and_is_kept(tmp_path: Path) -> None:
    first = Ports(tmp_path)
    first.take("fe1")
    first.release()
    asked = find_free_port()
    second = Ports(tmp_path, asked={"fe1": asked})
    assert second.take("fe1", 8080) == asked
    second.release()
    assert Ports(tmp_path).take("fe1", 8080) == asked


def test_a_file_of_ports_that_nobody_can_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "ports.json").touch()  # a power cut leaves it empty
    with pytest.raises(StartError, match=r"ports\.json is no JSON .*: mend it, or remove it"):
        Ports(tmp_path).take("fe1")
