"""Ballast: room on a disk that is set aside, for writes that must succeed on a full disk."""

import contextlib
import logging
import os
from pathlib import Path

log = logging.getLogger("frontend")


class Ballast:
    """A file that holds nothing but room."""

    def __init__(self, path: Path, size: int) -> None:
        """``size``: in bytes. The file of an earlier process is used."""
        self._path = path
        self._size = size
        self.kept = not size
        """True while the room is there, or none is wanted."""

    def keep(self) -> bool:
        """Set the room aside, if it isn't; return True if it is there."""
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
        """Free the room for the next write; return True if there was any."""
        self.kept = not self._size
        return self._remove()

    def _remove(self) -> bool:
        with contextlib.suppress(OSError):
            self._path.unlink()
            return True
        return False
