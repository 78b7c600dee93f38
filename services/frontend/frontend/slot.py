"""A slot: the folder in which a front end keeps what must outlive it, its own for as long as it lives.

Front ends that share a volume (replicas of one Compose service) have a slot each. One that starts again takes
a slot that is free, and finds there what was left; slots that nobody has are adopted by those that run.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_MOST: Final = 256


class Slot:
    """A folder that is locked while this object, or this process, lives."""

    def __init__(self, folder: Path) -> None:
        """Lock ``folder``, made if it isn't there. Raises BlockingIOError if it is another's, or OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise

    def release(self) -> None:
        """Let another have it."""
        os.close(self._lock)


def take_slot(shared: Path) -> Slot:
    """Return the first slot in a folder that nobody has. Raises OSError."""
    for number in range(1, _MOST):
        try:
            return Slot(shared / str(number))
        except BlockingIOError:
            continue
    raise OSError(f"all {_MOST - 1} slots in {shared} are taken")


@contextmanager
def abandoned_slots(mine: Slot) -> Iterator[list[Slot]]:
    """Have the slots beside ``mine`` that nobody has, for the length of the ``with`` block."""
    slots: list[Slot] = []
    try:
        for folder in sorted(mine.folder.parent.iterdir()):
            if folder != mine.folder and (folder / "lock").exists():
                try:
                    slots.append(Slot(folder))
                except BlockingIOError:
                    continue
        yield slots
    finally:
        for slot in slots:
            slot.release()
