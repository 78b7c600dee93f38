"""What a front end left: its spool's file, as one that takes it over sees it."""

import contextlib
import sqlite3
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from frontend.spool.file import SpoolFile, digest_of
from frontend.spool.rescue import Row, files_aside, log_of, read_rows


class LeftFile:
    """A file whose rows are read in order, and taken out where that can be done.

    One that SQLite can't open, as it can't write there, is read page by page.
    """

    def __init__(self, path: Path) -> None:
        """It isn't open yet: see ``open``."""
        self._path = path
        self._place = 0
        self._file: SpoolFile | None = None
        self._unread: Iterator[Row] = iter(())
        """What is read page by page, once for all."""
        self._read = -1
        """Place of the row that was read last so."""
        self.trouble = ""
        """Why nothing can be taken out; empty while that can be."""

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

    def release_ballast(self) -> None:
        """Give back the room put by: it may be needed to take out rows."""
        if self._file is not None:
            self._file.release_ballast()

    @property
    def unrescued(self) -> str:
        """As ``SpoolFile.unrescued``."""
        return self._file.unrescued if self._file is not None else ""

    @property
    def count(self) -> int:
        """How many rows there are, as far as they can be read. Raises OSError."""
        if self._file is not None:
            return self._file.count
        return sum(1 for _ in read_rows(self._path)) if self.trouble else 0

    def begin_behind(self, place: int, digest: bytes) -> None:
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
        """Have done with the rows up to a place: take them out, or remember why not."""
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
