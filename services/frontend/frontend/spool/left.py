"""A left file: a spool's file as a front end sees it that takes it over."""

import contextlib
import sqlite3
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from frontend.spool.file import SpoolFile, digest_of
from frontend.spool.rescue import Row, files_aside, log_of, read_rows


class LeftFile:
    """A file of rows that are read in order, and removed if that is possible.

    A file that SQLite can't open, as it can't write there, is read page by page.
    """

    def __init__(self, path: Path) -> None:
        """``open`` opens it."""
        self._path = path
        self._place = 0
        self._file: SpoolFile | None = None
        self._unread: Iterator[Row] = iter(())
        """Rows read page by page, once for all."""
        self._read = -1
        """The place of the last row that was read page by page."""
        self.trouble = ""
        """Why no rows can be removed; empty while they can."""

    def open(self) -> None:
        """Open the file, if there is one. Raises OSError if nothing can be read."""
        path = self._path
        if not (path.exists() or log_of(path).exists() or files_aside(path)):
            return
        try:
            self._file = SpoolFile(path)
        except (sqlite3.Error, OSError) as error:
            self.trouble = f"it can't be written: {error}"
            list(islice(read_rows(path), 1))

    @property
    def unrescued(self) -> str:
        """As ``SpoolFile.unrescued``."""
        return self._file.unrescued if self._file is not None else ""

    @property
    def count(self) -> int:
        """The number of readable rows. Raises OSError."""
        if self._file is not None:
            return self._file.count
        return sum(1 for _ in read_rows(self._path)) if self.trouble else 0

    def begin_copy(self, file: SpoolFile, source: str) -> None:
        """Go on behind the rows that were copied to a file before, under this name."""
        if self._file is not None:
            self._file.release_ballast()  # to remove rows may need its room
        place, digest = file.copied_of(source)
        if place:
            self._begin_behind(place, digest)

    def copy_some(self, file: SpoolFile, source: str, most: int, most_bytes: int) -> int:
        """Copy the next rows to a file and remove them here; return how many."""
        rows = self.next_rows(most, most_bytes)
        if rows:
            file.copy(rows, source)
            self.pass_by(rows[-1].place)
        elif not self.trouble:
            file.forget_copied(source)
        return len(rows)

    def _begin_behind(self, place: int, digest: bytes) -> None:
        """Go on behind a row that was copied before, if it is still there: else this may be another file."""
        self._place = place - 1
        row = next(iter(self.next_rows(1, 1)), None)
        self._place = 0
        if row is not None and row.place == place and digest_of(row.content) == digest:
            self.pass_by(place)

    def next_rows(self, most: int, most_bytes: int) -> list[Row]:
        """Return the next rows, as ``SpoolFile.first`` does. Raises sqlite3.Error or OSError."""
        if self._file is not None:
            return self._file.first(most, most_bytes, self._place)
        if not self.trouble:
            return []
        unread: list[OSError] = []
        if self._read != self._place:
            self._unread = read_rows(self._path, self._place, unread)
        rows: list[Row] = []
        size = 0
        for row in islice(self._unread, most):
            rows.append(row)
            size += len(row.content)
            if size >= most_bytes:
                break
        self._read = rows[-1].place if rows else -1
        if unread:
            self.trouble = f"a part of it can't be read: {unread[0]}"
        return rows

    def pass_by(self, place: int) -> None:
        """Remove the rows up to a place, or remember why that failed."""
        self._place = place
        if self._file is not None and not self.trouble:
            try:
                self._file.remove_up_to(place)
            except (sqlite3.Error, OSError) as error:
                self.trouble = f"what was copied can't be taken out: {error}"

    def close(self) -> None:
        """End; the file stays."""
        self._unread = iter(())
        if self._file is not None:
            with contextlib.suppress(sqlite3.Error):
                self._file.close()
