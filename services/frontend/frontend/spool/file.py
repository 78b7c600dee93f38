"""The spool's file: IMs in the order they came, in SQLite, on disk before a call returns."""

import contextlib
import hashlib
import logging
import sqlite3
import time
import zlib
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from frontend.spool.ballast import Ballast
from frontend.spool.rescue import (
    Row,
    check_header,
    files_aside,
    is_sent,
    log_of,
    note_sent,
    read_rows,
    seal_of,
    set_aside,
)

log = logging.getLogger("frontend")

_DAMAGE: Final = {
    sqlite3.SQLITE_ERROR,  # every statement is ours: what it names is not there
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_SCHEMA,
    sqlite3.SQLITE_MISMATCH,
}
_UNREADABLE: Final = {
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_CORRUPTFS,  # so SQLite calls a bad sector
    sqlite3.SQLITE_IOERR_DATA,
}
_PATIENCE_SECONDS: Final = 5.0
"""Seconds for which an unreadable place is tried again: the way to the disk may be the cause."""
_FORGET_SECONDS: Final = 60.0
_MOST_PLACE: Final = 1 << 53
_RESCUE_ROWS: Final = 1000
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS spool
    (place INTEGER PRIMARY KEY AUTOINCREMENT, content BLOB NOT NULL, checksum INTEGER);
CREATE TABLE IF NOT EXISTS removed (one INTEGER PRIMARY KEY, place INTEGER NOT NULL, seal BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS copied (source TEXT PRIMARY KEY, place INTEGER NOT NULL, digest BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS unreadable (place INTEGER, content BLOB);
"""
_Result = TypeVar("_Result")


class DamageError(sqlite3.DatabaseError):
    """The file is damaged."""


class SpoolFile:
    """Rows in order. Belongs to one thread at a time; raises sqlite3.Error or OSError if the disk fails.

    To remove rows is to write as well, first of all to SQLite's log: on a full disk ballast makes room. A
    damaged file is set aside; its readable rows go to a new one, at their old places. A file that can't be
    read for seconds is treated so too: all its other rows would wait behind a bad sector.
    """

    def __init__(self, path: Path, ballast_bytes: int = 0) -> None:
        """Open or make the file, with an earlier process's rows. ``ballast_bytes``: beside it."""
        self._path = path
        self._ballast = Ballast(path.with_name("ballast"), ballast_bytes)
        self._last = 0
        """The last place that was used, as far as this process knows."""
        self.count = 0
        self.size = 0
        """Bytes of all contents."""
        self.unrescued = ""
        """Why IMs of a file set aside could not be taken over; empty if all were that can be read."""
        self._connection = sqlite3.connect(":memory:")
        self._opened = False
        """The connection is to the file, as it should be: a file made anew may find no room at first."""
        self._unreadable_since = -_FORGET_SECONDS
        try:
            self._open_whole()
        except sqlite3.OperationalError:  # even to open it takes some room
            if not self._ballast.release():
                raise
            self._open_whole()
        self.keep_ballast()

    def _open_whole(self) -> None:
        try:
            self._whole(lambda: None)
        except (sqlite3.Error, OSError):
            self._connection.close()
            raise

    def _open(self) -> None:
        self._opened = False
        self._connection.close()
        if wrong := check_header(self._path):
            raise DamageError(wrong)
        self._connection = sqlite3.connect(self._path, isolation_level="IMMEDIATE", check_same_thread=False)
        self._connection.text_factory = bytes
        # Nobody else has it open, so SQLite needs no file of shared memory, which on a full disk of small
        # blocks would end the process (SIGBUS; https://sqlite.org/wal.html#use_of_wal_without_shared_memory).
        self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        # FULL: a commit returns when the log is on disk (https://sqlite.org/pragma.html#pragma_synchronous).
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA temp_store = MEMORY")
        self._connection.execute("PRAGMA cell_size_check = ON")
        self._make_tables()
        self._find_last()
        self._rescue()
        self._keep_places()  # a file that can't be written is no spool
        self._count()  # at the end: what is being rescued is not gone meanwhile
        self._inodes = self._look()
        self._opened = True

    def _make_tables(self) -> None:
        tables = {name for (name,) in self._connection.execute("SELECT name FROM sqlite_schema")}
        if tables and b"spool" not in tables:
            raise DamageError("its table is gone")
        columns = {row[1] for row in self._connection.execute("PRAGMA table_info(spool)")}
        if columns and b"checksum" not in columns:  # a file of before
            self._connection.execute("ALTER TABLE spool ADD COLUMN checksum INTEGER")
        for statement in _SCHEMA.split(";"):
            self._connection.execute(statement)
        [(verdict,)] = self._connection.execute("PRAGMA quick_check(1)")
        if verdict != b"ok":
            raise DamageError(verdict.decode(errors="replace"))

    def _find_last(self) -> None:
        noted = self._connection.execute("SELECT place, seal FROM removed").fetchall()
        places = [place for place, seal in noted if seal_of(place) == seal]
        for query in (
            "SELECT seq FROM sqlite_sequence",
            "SELECT place FROM spool ORDER BY place DESC LIMIT 1",
        ):
            places += [place for (place,) in self._connection.execute(query)]
        if not all(isinstance(place, int) and place < _MOST_PLACE for place in places):
            raise DamageError("a place is out of bounds")
        self._last = max(self._last, 0, *places)

    def _count(self) -> None:
        self.count, self.size = self._connection.execute(
            "SELECT count(*), coalesce(sum(length(content)), 0) FROM spool"
        ).fetchone()

    def _whole(self, function: Callable[[], _Result]) -> _Result:
        """Call a function on the file, and once more on a new file if this one turns out to be damaged."""
        try:
            if not self._opened:
                self._open()
            return function()
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter of a name in SQLite's own error
            if not self._is_damage(error):
                raise
            self._replace(error)
            result = function()
            self._count()
            return result

    def _is_damage(self, error: sqlite3.Error | UnicodeDecodeError) -> bool:
        """Return True if the file must be set aside: it is damaged, or can't be read again and again."""
        if isinstance(error, DamageError | UnicodeDecodeError):
            return True
        if getattr(error, "sqlite_errorcode", None) in _UNREADABLE:
            now = time.monotonic()
            if now > self._unreadable_since + _FORGET_SECONDS:
                self._unreadable_since = now
            return now >= self._unreadable_since + _PATIENCE_SECONDS
        return _code_of(error) in _DAMAGE

    def _replace(self, error: Exception) -> None:
        aside = set_aside(self._path)
        self._unreadable_since = -_FORGET_SECONDS
        self._connection.close()  # after: SQLite leaves alone what has another name
        log.critical(
            "the spool is damaged: its file is set aside",
            extra={"file": str(aside), "error": str(error)[:200], "ims": self.count},
        )
        self._open()

    def _rescue(self) -> None:
        """Take over the readable rows of files set aside; note each file once that is done."""
        self.unrescued = ""
        for aside in files_aside(self._path):
            noted = "SELECT 1 FROM copied WHERE source = ?"
            if not is_sent(aside) and self._connection.execute(noted, [aside.name]).fetchone() is None:
                try:
                    try:
                        self._take_over(aside)
                    except sqlite3.OperationalError:  # it takes room
                        if not self._ballast.release():
                            raise
                        self._take_over(aside)
                except (sqlite3.OperationalError, OSError) as error:  # others' IMs go on
                    self.unrescued = str(error)[:200]
                    log.critical(
                        "IMs of a damaged spool can't be rescued: that is tried again",
                        extra={"file": str(aside), "error": self.unrescued},
                    )

    def rescue_again(self) -> None:
        """Try again to take over the rows that could not be before, and note that those taken over are sent.

        Only while the file is empty: else the rows on their way to the broker would remove those before them.
        """
        if self.unrescued and not self.count and self.keep_ballast():
            self._whole(self._rescue)
            self._keep_places()
            self._count()
        if not self.count and not self.unrescued:
            with contextlib.suppress(OSError):  # then it is noted later
                note_sent(self._path)

    def _take_over(self, aside: Path) -> None:
        first = last = rescued = 0
        unread: list[OSError] = []
        rows = read_rows(aside, unread=unread)
        while some := list(islice(rows, _RESCUE_ROWS)):
            with self._connection:  # a transaction
                for row in some:
                    self._put_back(row)
            first, last, rescued = first or some[0].place, some[-1].place, rescued + len(some)
        with self._connection:  # a transaction
            self._connection.execute(
                "INSERT INTO copied (source, place, digest) VALUES (?, 0, x'')", [aside.name]
            )
        self._last = max(self._last, last)
        log.critical(
            "IMs of a damaged spool were rescued",
            extra={
                "file": str(aside),
                "rescued": rescued,
                "lost_at_least": last - first + 1 - rescued if rescued else 0,
                "unread": str(unread[0]) if unread else "",
            },
        )

    def _put_back(self, row: Row) -> None:
        there = self._connection.execute("SELECT content FROM spool WHERE place = ?", [row.place]).fetchone()
        if there is None:
            self._connection.execute("INSERT INTO spool (place, content, checksum) VALUES (?, ?, ?)", row)
        elif there[0] != row.content:
            self._connection.execute(
                "INSERT INTO spool (content, checksum) VALUES (?, ?)", [row.content, row.checksum]
            )

    def _keep_places(self) -> None:
        """Have the next rows go behind all that were there."""
        with self._connection:  # a transaction
            self._connection.execute("DELETE FROM sqlite_sequence WHERE name = 'spool'")
            self._connection.execute(
                "INSERT INTO sqlite_sequence (name, seq) VALUES ('spool', ?)", [self._last]
            )

    def _look(self) -> list[tuple[int, int]]:
        """Return the devices and inodes of the files under their names."""
        return [(stat.st_dev, stat.st_ino) for stat in (self._path.stat(), log_of(self._path).stat())]

    def check_place(self) -> None:
        """Raise OSError if the file isn't under its name any more: its rows would not be found there."""
        if self._opened and self._look() != self._inodes:
            raise FileNotFoundError(f"{self._path} is another file now")

    def try_out(self) -> bool:
        """Return True if it takes rows; raises sqlite3.Error or OSError if the disk fails."""
        self.check_place()
        if not self.keep_ballast():
            return False
        self._whole(self._keep_places)
        return True

    def keep_ballast(self) -> bool:
        """Set room aside for when the disk is full, if it isn't; return True if it is there."""
        if self._ballast.kept:
            return True
        with contextlib.suppress(sqlite3.Error):  # first the file gives back what it can
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            if not self.count:
                self._connection.execute("VACUUM")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return self._ballast.keep()

    def release_ballast(self) -> None:
        """Free the room that was set aside."""
        self._ballast.release()

    @property
    def full(self) -> bool:
        """True while no rows are taken, until some are removed or the disk has room again."""
        return not self._ballast.kept

    def append(self, contents: Sequence[bytes]) -> int:
        """Put contents on disk behind the last row, all or none; return the last of their places."""
        return self._append([Row(0, content, zlib.crc32(content)) for content in contents], None)

    def copy(self, rows: Sequence[Row], source: str) -> None:
        """Put rows of another file behind the last row, and note how far it was copied: both or neither."""
        self._append(rows, (source, rows[-1].place, digest_of(rows[-1].content)))

    def _append(self, rows: Sequence[Row], copied: tuple[str, int, bytes] | None) -> int:
        if not self.keep_ballast():  # else what comes in takes the room that taking out needs
            raise sqlite3.OperationalError("the disk is full")
        self.check_place()
        place = self._whole(lambda: self._insert(rows, copied))
        self.check_place()
        return place

    def _insert(self, rows: Sequence[Row], copied: tuple[str, int, bytes] | None) -> int:
        with self._connection:  # a transaction
            self._connection.executemany(
                "INSERT INTO spool (content, checksum) VALUES (?, ?)", [row[1:] for row in rows]
            )
            [(place,)] = self._connection.execute("SELECT last_insert_rowid()")
            if copied is not None:
                self._connection.execute("INSERT OR REPLACE INTO copied VALUES (?, ?, ?)", copied)
        self._last += len(rows)
        self.count += len(rows)
        self.size += sum(len(row.content) for row in rows)
        return int(place)

    def copied_of(self, source: str) -> tuple[int, bytes]:
        """Return place and digest of the last row of another file that was copied here; 0 if none was."""
        noted = self._connection.execute("SELECT place, digest FROM copied WHERE source = ?", [source])
        return noted.fetchone() or (0, b"")

    def forget_copied(self, source: str) -> None:
        """Remove the note of how far a file was copied that is empty now."""
        with self._connection:  # a transaction
            self._connection.execute("DELETE FROM copied WHERE source = ?", [source])

    def first(self, most: int, most_bytes: int, after: int = 0) -> list[Row]:
        """Return the oldest rows behind a place: at least one if there is any, at most ``most``, of about
        ``most_bytes``."""
        return self._whole(lambda: self._first(most, most_bytes, after))

    def _first(self, most: int, most_bytes: int, after: int) -> list[Row]:
        rows: list[Row] = []
        size = 0
        cursor = self._connection.execute(
            "SELECT place, content, checksum FROM spool WHERE place > ? ORDER BY place LIMIT ?", [after, most]
        )
        for place, content, checksum in cursor:
            rows.append(Row(place, content if isinstance(content, bytes) else b"", checksum))
            size += len(rows[-1].content)
            if size >= most_bytes:
                break
        cursor.close()
        return rows

    def remove(self, rows: Sequence[Row]) -> None:
        """Remove the rows that ``first`` returned, but for those set aside."""
        self._take_out(lambda: self._delete(rows[-1].place, sum(len(row.content) for row in rows)))

    def remove_up_to(self, place: int) -> None:
        """Remove the rows up to a place."""
        size = "SELECT coalesce(sum(length(content)), 0) FROM spool WHERE place <= ?"
        self._take_out(lambda: self._delete(place, self._connection.execute(size, [place]).fetchone()[0]))

    def set_aside(self, rows: Sequence[Row]) -> None:
        """Move rows to a table where a person may look at them."""
        self._take_out(lambda: self._move_aside(rows))

    def _take_out(self, how: Callable[[], None]) -> None:
        try:
            self._whole(how)
        except sqlite3.OperationalError as error:
            if _code_of(error) != sqlite3.SQLITE_FULL or not self._ballast.release():
                raise
            log.warning("the spool's disk is full: its ballast makes room to take out what is sent")
            self._whole(how)
        if not self.count:
            self.keep_ballast()

    def _delete(self, place: int, size: int) -> None:
        with self._connection:  # a transaction; few statements: each waits for a busy event loop's GIL
            gone = self._connection.execute("DELETE FROM spool WHERE place <= ?", [place])
            note = "INSERT OR REPLACE INTO removed VALUES (1, ?, ?)"
            self._connection.execute(note, [place, seal_of(place)])
        self.count -= gone.rowcount
        self.size -= size

    def _move_aside(self, rows: Sequence[Row]) -> None:
        with self._connection:  # a transaction
            self._connection.executemany(
                "INSERT INTO unreadable (place, content) VALUES (?, ?)", [row[:2] for row in rows]
            )
            self._connection.executemany("DELETE FROM spool WHERE place = ?", [[row.place] for row in rows])
        self.count -= len(rows)
        self.size -= sum(len(row.content) for row in rows)

    def close(self) -> None:
        """End; the file stays."""
        self._connection.close()


def _code_of(error: sqlite3.Error) -> int:
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def digest_of(content: bytes) -> bytes:
    """Return a digest of a row, to know it again in another file."""
    return hashlib.blake2b(content, digest_size=16).digest()
