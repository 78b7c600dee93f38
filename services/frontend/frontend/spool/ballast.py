"""Ballast: room on a disk that is put by, for what must still be written when there is no other."""

import contextlib
import logging
import os
from pathlib import Path

log = logging.getLogger("frontend")


class Ballast:
    """A file that holds nothing but room."""

    def __init__(self, path: Path, size: int) -> None:
        """``size``: in bytes. Nothing is put by yet; what an earlier process put by is there."""
        self._path = path
        self._size = size
        self.kept = not size
        """Whether the room is there, as far as it is wanted."""

    def keep(self) -> bool:
        """Put the room by, if it isn't; return whether it is there."""
        if self.kept:
            return True
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self._size)
            finally:
                os.close(descriptor)
        except OSError:  # what it has got of it is no use
            self._remove()
            return False
        self.kept = True
        return True

    def release(self) -> bool:
        """Give the room to whoever needs it now; return whether there was any."""
        self.kept = not self._size
        return self._remove()

    def _remove(self) -> bool:
        with contextlib.suppress(OSError):
            self._path.unlink()
            return True
        return False
