"""The spool's file: IMs in the order they came, in SQLite, on disk before a call returns."""

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from frontend.ballast import Ballast

log = logging.getLogger("frontend")


class Row(NamedTuple):
    """An IM in the file."""

    place: int
    """Its place in the order; never used twice."""
    content: bytes


class SpoolFile:
    """Rows in order. Belongs to one thread at a time; every method raises sqlite3.Error if the disk fails.

    To take rows out is to write as well, first of all to SQLite's log: on a full disk ballast makes room.
    """

    def __init__(self, path: Path, ballast_bytes: int = 0) -> None:
        """Open or make the file; what an earlier process left is there. ``ballast_bytes``: beside it."""
        self._path = path
        self._ballast = Ballast(path.with_name("ballast"), ballast_bytes)
        try:
            self._open()
        except sqlite3.OperationalError:  # even to open it takes some room
            if not self._ballast.release():
                raise
            self._open()
        self.keep_ballast()

    def _open(self) -> None:
        self._connection = sqlite3.connect(self._path, isolation_level="IMMEDIATE", check_same_thread=False)
        # Nobody else has it open, so SQLite needs no file of shared memory, which on a full disk of small
        # blocks would end the process (SIGBUS; https://sqlite.org/wal.html#use_of_wal_without_shared_memory).
        self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        # FULL: a commit returns when the log is on disk (https://sqlite.org/pragma.html#pragma_synchronous).
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA temp_store = MEMORY")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS spool"
            " (place INTEGER PRIMARY KEY AUTOINCREMENT, content BLOB NOT NULL)"
        )
        self.count: int
        self.size: int
        """Bytes of all contents."""
        self.count, self.size = self._connection.execute(
            "SELECT count(*), coalesce(sum(length(content)), 0) FROM spool"
        ).fetchone()

    def keep_ballast(self) -> bool:
        """Put room by for when the disk is full, if it isn't; return whether it is there."""
        if self._ballast.kept:
            return True
        with contextlib.suppress(sqlite3.OperationalError):  # first the file gives back what it can
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            if not self.count:
                self._connection.execute("VACUUM")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return self._ballast.keep()

    def release_ballast(self) -> None:
        """Give back the room put by."""
        self._ballast.release()

    @property
    def full(self) -> bool:
        """Whether nothing more goes in, until what is there was taken out or the disk has room again."""
        return not self._ballast.kept

    def append(self, contents: Sequence[bytes]) -> None:
        """Put contents behind what is there, all or none; they are on disk when this returns."""
        if not self.keep_ballast():  # else what comes in takes the room that taking out needs
            raise sqlite3.OperationalError("the disk is full")
        with self._connection:  # a transaction
            self._connection.executemany(
                "INSERT INTO spool (content) VALUES (?)", [(content,) for content in contents]
            )
        self.count += len(contents)
        self.size += sum(map(len, contents))

    def first(self, most: int, most_bytes: int) -> list[Row]:
        """Return the oldest rows: at least one if there is any, at most ``most``, of about ``most_bytes``."""
        rows: list[Row] = []
        size = 0
        cursor = self._connection.execute("SELECT place, content FROM spool ORDER BY place LIMIT ?", [most])
        for place, content in cursor:
            rows.append(Row(place, content))
            size += len(content)
            if size >= most_bytes:
                break
        cursor.close()
        return rows

    def remove(self, rows: Sequence[Row]) -> None:
        """Take out the rows that ``first`` returned, but for those set aside."""
        self._take_out(rows, self._delete)

    def set_aside(self, rows: Sequence[Row]) -> None:
        """Move rows out of the order, to a table where a person may look at them."""
        self._take_out(rows, self._move_aside)

    def _take_out(self, rows: Sequence[Row], how: Callable[[Sequence[Row]], None]) -> None:
        try:
            how(rows)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL or not self._ballast.release():
                raise
            log.warning("the spool's disk is full: its ballast makes room to take out what is sent")
            how(rows)
        self.count -= len(rows)
        self.size -= sum(len(row.content) for row in rows)
        if not self.count:
            self.keep_ballast()

    def _delete(self, rows: Sequence[Row]) -> None:
        with self._connection:  # a transaction; one statement, as each would wait for a busy event loop's GIL
            self._connection.execute("DELETE FROM spool WHERE place <= ?", [rows[-1].place])

    def _move_aside(self, rows: Sequence[Row]) -> None:
        with self._connection:  # a transaction
            self._connection.execute("CREATE TABLE IF NOT EXISTS unreadable (place INTEGER, content BLOB)")
            self._connection.executemany("INSERT INTO unreadable VALUES (?, ?)", rows)
            self._connection.executemany("DELETE FROM spool WHERE place = ?", [[row.place] for row in rows])

    def close(self) -> None:
        """End; the file stays."""
        self._connection.close()
