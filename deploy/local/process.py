"""Processes that the local stack starts, with free ports and bounded waiting."""

import contextlib
import os
import secrets
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final


class StartError(RuntimeError):
    """A part of the stack did not start; the text says which, and shows the end of its log."""


_PORTS: Final = range(10_240, 32_768)
"""Linux takes none of these for an outgoing connection, in the time until a service listens."""

NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For HTTP clients on loopback: to load certificates that nothing there shows takes each client 30 ms."""


def is_free(port: int) -> bool:
    """Return whether nothing listens on a TCP port of the loopback interface."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def find_free_port(wanted: int = 0) -> int:
    """Return a TCP port of the loopback interface that nothing listens on: the one wanted, if it is free."""
    port = wanted or secrets.choice(_PORTS)
    return port if is_free(port) else find_free_port()


def wait_for(condition: Callable[[], bool], what: str, *, seconds: float = 30, every: float = 0.05) -> None:
    """Return when the condition holds; raises TimeoutError, which names the condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(every)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put off Ctrl-C: a process that has begun is in its file before anybody cleans up."""
    if threading.current_thread() is not threading.main_thread():  # signals come to that one alone
        yield
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for each in came:
            signal.raise_signal(each)


class Process:
    """One process in a group of its own, its output in a log file, its number in a file."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        folder: Path,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """``folder`` gets ``NAME.log`` and ``NAME.group``.

        ``env`` is added to our own environment, of which settings of services (``LCS_…``) are left out.
        """
        ours = {key: value for key, value in os.environ.items() if not key.startswith("LCS_")}
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.log = folder / f"{name}.log"
        self._group_file = folder / f"{name}.group"
        with self.log.open("ab") as log, _uninterrupted():
            self.popen = subprocess.Popen(
                [str(part) for part in command],
                env=ours | dict(env or {}),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                umask=0o077,
            )
            try:
                self._group_file.write_text(f"{self.popen.pid}\n")
            except OSError:  # nobody would end it: the disk is full, say
                self.send(signal.SIGKILL)
                self.popen.wait()
                raise

    @property
    def alive(self) -> bool:
        """True while the process runs."""
        return self.popen.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the whole group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)

    def stop(self, number: signal.Signals = signal.SIGTERM, *, seconds: float = 30) -> int:
        """Ask the process to end, wait, insist; return its exit code."""
        if self.alive:
            self.send(signal.SIGCONT)
            with contextlib.suppress(ProcessLookupError):
                self.popen.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(seconds)
        self.send(signal.SIGKILL)
        code = self.popen.wait()
        self._group_file.unlink(missing_ok=True)
        return code

    def kill(self) -> None:
        """End the whole group at once (SIGKILL)."""
        self.stop(signal.SIGKILL)

    def wait_until(self, condition: Callable[[], bool], *, seconds: float = 60) -> None:
        """Return when the condition holds; raises StartError if the process ends before, or in time."""
        try:
            wait_for(lambda: not self.alive or condition(), self.name, seconds=seconds)
        except TimeoutError as error:
            raise StartError(f"{error}; its log ends:\n{self._end_of_log()}") from None
        if not self.alive:
            raise StartError(
                f"{self.name} ended with code {self.popen.returncode}; its log ends:\n{self._end_of_log()}"
            )

    def _end_of_log(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


def kill_leftovers(folder: Path) -> list[str]:
    """Kill the processes that files below a folder still name, and theirs; see them end; return the names.

    A file that names none (a power cut leaves it empty) is removed.
    """
    killed: list[str] = []
    ended: set[int] = set()
    for group_file in sorted(folder.rglob("*.group")):
        number = group_file.read_text(errors="replace").strip("\0\n")
        if number.isdecimal() and _is_leftover(pid := int(number), group_file.parent):
            children = _children_of(pid)  # PostgreSQL's have groups of their own, and end their query first
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
                killed.append(group_file.stem)
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            ended |= {pid, *children}
        group_file.unlink(missing_ok=True)
    wait_for(lambda: not any(map(_runs, ended)), f"{', '.join(killed)} to end")  # until then ports are taken
    return killed


def _is_leftover(pid: int, folder: Path) -> bool:
    """Return whether a process works in the folder that its file is in, and leads its group."""
    try:
        return works_in(pid, folder) and os.getpgid(pid) == pid
    except (ProcessLookupError, PermissionError):
        return False


def _children_of(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def works_in(pid: int, folder: Path) -> bool:
    """Return whether the process of a number runs and has its working directory in a folder.

    A number alone says little: after a reboot it is any other process's.
    """
    try:
        return Path(f"/proc/{pid}/cwd").readlink().is_relative_to(folder.resolve())
    except OSError:  # a zombie has none
        return False


def _runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
