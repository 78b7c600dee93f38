"""The spool's file: IMs in the order they came, in SQLite, on disk before a call returns."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Row(NamedTuple):
    """An IM in the file."""

    place: int
    """Its place in the order; never used twice."""
    content: bytes


class SpoolFile:
    """Rows in order. Belongs to one thread at a time; every method raises sqlite3.Error if the disk fails."""

    def __init__(self, path: Path) -> None:
        """Open or make the file; what an earlier process left is there."""
        self._connection = sqlite3.connect(path, isolation_level="IMMEDIATE", check_same_thread=False)
        # FULL: a commit returns when the log is on disk (https://sqlite.org/pragma.html#pragma_synchronous).
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
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

    def append(self, contents: Sequence[bytes]) -> None:
        """Put contents behind what is there, all or none; they are on disk when this returns."""
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
        """Take out rows that ``first`` returned."""
        with self._connection:  # a transaction
            self._delete(rows)
        self.count -= len(rows)
        self.size -= sum(len(row.content) for row in rows)

    def set_aside(self, rows: Sequence[Row]) -> None:
        """Move rows out of the order, to a table where a person may look at them."""
        with self._connection:  # a transaction
            self._connection.execute("CREATE TABLE IF NOT EXISTS unreadable (place INTEGER, content BLOB)")
            self._connection.executemany("INSERT INTO unreadable VALUES (?, ?)", rows)
            self._delete(rows)
        self.count -= len(rows)
        self.size -= sum(len(row.content) for row in rows)

    def _delete(self, rows: Sequence[Row]) -> None:
        self._connection.executemany("DELETE FROM spool WHERE place = ?", [[row.place] for row in rows])

    def close(self) -> None:
        """End; the file stays."""
        self._connection.close()
