"""The spool: IMs that the broker can't take now, safe on this front end's own disk, in order.

What comes while a write is under way goes to disk together with the next (group commit), so the disk's fsync
is paid once for many. One thread does all that touches the disk: the event loop never waits for it.
"""

import asyncio
import contextlib
import logging
import shutil
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import msgspec

from contract.message import milliseconds_of
from contract.policy import Decision
from frontend.metrics import DRAINED, SPOOL_BYTES, SPOOL_IMS, SPOOL_MAX_BYTES, SPOOL_OLDEST, SPOOLED
from frontend.spool_file import Row, SpoolFile
from frontend.submission import CheckedIM

log = logging.getLogger("frontend")

_FILE: Final = "spool.sqlite"
_WRITE_BYTES: Final = 1 << 20
"""About what goes to disk in one transaction: SQLite's log has to hold it, and the ballast the log."""
_BALLAST_BYTES: Final = 16 << 20
_LOOK_SECONDS: Final = 1.0
_ADOPT_IMS: Final = 1000
_FULL_DISK: Final = "the spool's disk is full"
_Result = TypeVar("_Result")


class SpoolError(Exception):
    """The spool is full, or its disk fails."""


class SpooledIM(msgspec.Struct, gc=False):
    """An IM with what was decided on it."""

    im: CheckedIM
    decision: Decision


class _Waiting(NamedTuple):
    content: bytes
    written: "asyncio.Future[None]"


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(SpooledIM)


class Spool:
    """A bounded queue on disk."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """``max_bytes``: of IMs. What is in ``folder`` already counts. Raises OSError."""
        self._max_bytes = max_bytes
        self._thread = ThreadPoolExecutor(1, "spool")
        try:
            self._file = SpoolFile(folder / _FILE, _ballast_for(folder, max_bytes))
        except sqlite3.Error as error:
            raise OSError(f"{folder / _FILE}: {error}") from error
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._work = asyncio.Event()
        self._first: list[Row] = []
        self._sent: list[Row] = []
        self.trouble = _FULL_DISK if self._file.full else ""
        """Why it takes no more; empty while it does."""
        self.stuck = ""
        """Why what is in it can't be sent; empty while it can."""
        self.filled = asyncio.Event()
        """Set while there are IMs on disk."""
        SPOOL_MAX_BYTES.set(max_bytes)
        self._show()

    @property
    def count(self) -> int:
        """How many IMs are on disk."""
        return self._file.count

    def put(self, im: CheckedIM, decision: Decision) -> "asyncio.Future[None]":
        """Take an IM; the result is there when it is on disk. Raises SpoolError, now or by the result."""
        content = _encoder.encode(SpooledIM(im, decision))
        if self._file.size + self._waiting_bytes + len(content) > self._max_bytes:
            self.trouble = f"the spool is full: {self._max_bytes} bytes"
            raise SpoolError(self.trouble)
        written = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(content, written))
        self._waiting_bytes += len(content)
        self._work.set()
        return written

    async def run(self) -> None:
        """Write what is put, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._work.wait()
            except TimeoutError:
                if self._file.full:
                    await self._look_for_room()
                continue
            self._work.clear()
            while self._waiting:
                await self._write()

    async def _look_for_room(self) -> None:
        with contextlib.suppress(SpoolError):
            if await self._run(self._file.keep_ballast):
                self.trouble = ""

    async def _write(self) -> None:
        number = size = 0
        while number < len(self._waiting) and size < _WRITE_BYTES:
            size += len(self._waiting[number].content)
            number += 1
        group, self._waiting = self._waiting[:number], self._waiting[number:]
        trouble = ""
        try:
            await self._run(self._file.append, [waiting.content for waiting in group])
        except SpoolError as error:
            trouble = _FULL_DISK if self._file.full else str(error)
        self.trouble = trouble
        self._waiting_bytes -= size
        for waiting in group:
            if not waiting.written.done():
                if trouble:
                    waiting.written.set_exception(SpoolError(trouble))
                else:
                    waiting.written.set_result(None)
        if not trouble:
            SPOOLED.inc(len(group))
        self._show()

    async def first(self, most: int, most_bytes: int) -> list[SpooledIM]:
        """Return the oldest IMs, about as many as allowed; none if none can be read. Raises SpoolError."""
        if self._sent:
            await self._remove_sent()
        self._first, spooled, unreadable = [], [], []
        for row in await self._reach(self._file.first, most, most_bytes):
            try:
                spooled.append(_decoder.decode(row.content))
                self._first.append(row)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                log.critical(
                    "an IM in the spool can't be read: it stays in the table unreadable of its file",
                    extra={"place": row.place, "error": str(error)[:200]},
                )
                unreadable.append(row)
        if unreadable:
            await self._reach(self._file.set_aside, unreadable)
            self._show()
        if spooled:
            SPOOL_OLDEST.set(milliseconds_of(spooled[0].im.id) / 1000)
        return spooled

    async def remove_first(self) -> None:
        """Take out what ``first`` returned last. Raises SpoolError: then ``first`` begins with it."""
        self._sent, self._first = self._first, []
        await self._remove_sent()

    async def _remove_sent(self) -> None:
        await self._reach(self._file.remove, self._sent)
        DRAINED.inc(len(self._sent))
        self._sent = []
        if self._file.full:
            self.trouble = _FULL_DISK
        elif self._file.size < self._max_bytes / 2:  # not for a few that would fill it again at once
            self.trouble = ""
        self._show()

    async def _reach(self, function: "Callable[..., _Result]", *arguments: object) -> _Result:
        """Do what must be done to send what is on disk."""
        try:
            result = await self._run(function, *arguments)
        except SpoolError as error:
            if str(error) != self.stuck:  # else it is known
                self.stuck = str(error)
                log.error("the spool can't be sent", extra={"error": self.stuck[:200]})
            raise
        self.stuck = ""
        return result

    async def adopt(self, folder: Path) -> int:
        """Take over what a front end left in its folder, as far as there is room; return how many IMs.

        Raises SpoolError.
        """
        left = await self._run(_open_left, folder / _FILE)
        if left is None:
            return 0
        moved = 0
        try:
            while self._file.size < self._max_bytes and (some := await self._run(self._move_some, left)):
                moved += some
                self._show()
        finally:
            await self._run(left.close)
        return moved

    def _move_some(self, left: SpoolFile) -> int:
        """First here, then away there: what stops between the two comes twice, which the archive sees."""
        rows = left.first(_ADOPT_IMS, _WRITE_BYTES)
        if rows:
            self._file.append([row.content for row in rows])
            left.remove(rows)
        return len(rows)

    def close(self) -> None:
        """End, once what is under way is done; IMs stay where they are."""
        self._thread.submit(self._file.close)
        self._thread.shutdown(wait=False)

    async def _run(self, function: "Callable[..., _Result]", *arguments: object) -> _Result:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
        except (sqlite3.Error, OSError) as error:
            raise SpoolError(f"the spool's disk fails: {error}") from error

    def _show(self) -> None:
        SPOOL_IMS.set(self._file.count)
        SPOOL_BYTES.set(self._file.size)
        if self._file.count:
            self.filled.set()
        else:
            self.filled.clear()
            SPOOL_OLDEST.set(0)


def _ballast_for(folder: Path, max_bytes: int) -> int:
    """Return how much room a spool may need to be emptied: less if it, or its disk, is small."""
    return min(_BALLAST_BYTES, 2 * max_bytes + (256 << 10), shutil.disk_usage(folder).total // 2)


def _open_left(path: Path) -> SpoolFile | None:
    """Open what a front end left, if it left any; what it put by may be needed to take it over."""
    if not path.exists():
        return None
    left = SpoolFile(path)
    left.release_ballast()
    return left
