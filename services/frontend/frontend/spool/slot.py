"""A slot: the folder of all that must outlive a front end, locked for as long as it lives.

Front ends that share a volume (replicas of one Compose service) have a slot each. One that starts takes a
free slot of its pool, with all that is in it; running ones adopt the free slots of their pool.
"""

import contextlib
import fcntl
import logging
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

log = logging.getLogger("frontend")

_MOST: Final = 256
_POOL: Final = "pool"


class Slot:
    """A folder that is locked while this object, or this process, lives."""

    def __init__(self, folder: Path) -> None:
        """Lock ``folder``, made if it isn't there. Raises BlockingIOError if it is another's, or OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(PermissionError):  # it holds what people said; it may have been open before
            folder.chmod(0o700)
        self.folder = folder
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        self._lock = os.open(folder / "lock", flags, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise

    @property
    def pool(self) -> str:
        """The pool that the slot names; empty if it names none that can be read. Raises OSError."""
        path = self.folder / _POOL
        if not _is_file(path):
            return ""
        pool, _, checksum = path.read_bytes().rpartition(b" ")
        return pool.decode(errors="replace") if checksum.strip() == _checksum_of(pool) else ""

    def name_pool(self, pool: str) -> None:
        """Name the slot's pool, safe from a power cut. Raises OSError."""
        fresh = self.folder / f"{_POOL}.new"
        with fresh.open("wb") as file:
            file.write(pool.encode() + b" " + _checksum_of(pool.encode()) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.folder / _POOL)

    def stands(self) -> bool:
        """Return True if the folder is still in its place: its volume may be gone, or another's."""
        try:
            here, mine = (self.folder / "lock").stat(), os.fstat(self._lock)
        except OSError:
            return False
        return (here.st_dev, here.st_ino) == (mine.st_dev, mine.st_ino)

    def release(self) -> None:
        """Unlock the folder."""
        os.close(self._lock)


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False


def _checksum_of(pool: bytes) -> bytes:
    return b"%08x" % zlib.crc32(pool)


def take_slot(shared: Path, pool: str, use: Callable[[Slot], None]) -> Slot:
    """Return the first free slot of a folder that is not another pool's, and that ``use`` accepts.

    ``use`` raises OSError to refuse one. Raises OSError if there is none.
    """
    for number in range(1, _MOST):
        folder = shared / str(number)
        made = not folder.exists()
        try:
            slot = Slot(folder)
        except BlockingIOError:
            continue
        except OSError as error:
            if made:
                raise
            log.error("a slot can't be used", extra={"slot": folder.name, "error": str(error)})
            continue
        try:
            if slot.pool not in ("", pool):
                slot.release()
                continue
            use(slot)
        except OSError as error:
            slot.release()
            if made:  # another new one would fare no better
                raise
            log.error("a slot can't be used", extra={"slot": folder.name, "error": str(error)})
            continue
        return slot
    raise OSError(f"no slot in {shared} is free")


def slots_beside(mine: Slot) -> Iterator[tuple[str, Slot | OSError | None]]:
    """Yield the slots beside ``mine``, by name, one after another; each is released when the next comes.

    None: it is another front end's. OSError: why it can't be looked into. Raises OSError.
    """
    for folder in sorted(mine.folder.parent.iterdir()):
        if folder == mine.folder:
            continue
        try:
            if not any((folder / name).exists() for name in ("lock", "spool.sqlite")):
                continue
            slot = Slot(folder)
        except BlockingIOError:
            yield folder.name, None
        except OSError as error:
            if folder.name.isdecimal():  # else it is none, as a disk's lost+found
                yield folder.name, error
        else:
            try:
                yield folder.name, slot
            finally:
                slot.release()
