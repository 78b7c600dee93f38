"""The spool: IMs that the broker can't take now, safe on this front end's own disk, in order.

It is in a slot of the state folder. Without a slot no IM is spooled; the way to the broker stays open.

IMs that come while a write is under way go to disk together with the next (group commit), so the disk's fsync
is paid once for many. One thread does all disk access: the event loop never waits for it.
"""

import asyncio
import contextlib
import logging
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import msgspec

from contract.message import milliseconds_of
from contract.policy import Decision
from frontend.config import FrontEndSettings
from frontend.im import CheckedIM
from frontend.metrics import DRAINED, SPOOL_BYTES, SPOOL_IMS, SPOOL_MAX_BYTES, SPOOL_OLDEST, SPOOLED
from frontend.receipt import Receipt
from frontend.spool.file import SpoolFile
from frontend.spool.left import LeftFile
from frontend.spool.rescue import Row
from frontend.spool.slot import Slot, take_slot

log = logging.getLogger("frontend")

SPOOL_FILE: Final = "spool.sqlite"
_WRITE_BYTES: Final = 1 << 20
"""Bytes of a transaction, about: SQLite's log has to hold it, and the ballast the log."""
_BALLAST_BYTES: Final = 16 << 20
_LOOK_SECONDS: Final = 1.0
_ADOPT_IMS: Final = 1000
_FULL_DISK: Final = "the spool's disk is full"
_Result = TypeVar("_Result")


class SpoolError(Exception):
    """The spool is full, or its disk fails."""


class SpooledIM(msgspec.Struct, gc=False):
    """An IM with its decision."""

    im: CheckedIM
    decision: Decision
    pool: str = ""
    """The pool that answered it: "" in a spool of an older front end."""


class Adopted(NamedTuple):
    """The result of taking over a slot."""

    pool: str
    """The slot's pool; empty if neither slot nor IMs name it."""
    ims: int
    """IMs that came here."""
    stay: int
    """IMs that stay there."""
    trouble: str
    """Why copied IMs can't be removed there, or not all could be copied; empty if neither failed."""


class _Waiting(NamedTuple):
    content: bytes
    receipt: Receipt
    written: "asyncio.Future[None]"


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(SpooledIM)


class Spool:
    """A bounded queue on disk."""

    def __init__(self, settings: FrontEndSettings) -> None:
        """It has no slot until ``take_slot``."""
        self._pool, self._state_dir = settings.pool, settings.state_dir
        self._max_bytes = settings.spool_max_bytes
        self._thread = ThreadPoolExecutor(1, "spool")
        self._file: SpoolFile | None = None
        self.slot: Slot | None = None
        """The slot that holds the file; None while there is none that can be used."""
        self._had_slot = False
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._work = asyncio.Event()
        self._first: list[Row] = []
        self._sent: list[Row] = []
        self._answered: set[int] = set()
        """Places of IMs answered before the disk had them: they are removed, and not sent."""
        self.trouble = "the state folder can't be used"
        """Why it takes no IMs; empty while it does."""
        self.stuck = ""
        """Why its IMs can't be sent; empty while they can."""
        self.filled = asyncio.Event()
        """Set while there are IMs on disk."""
        SPOOL_MAX_BYTES.set(self._max_bytes)

    def take_slot(self) -> None:
        """Take a slot of the state folder, with the IMs in it. Raises OSError if there is none."""
        if self._had_slot and not any(self._state_dir.iterdir()):
            raise OSError(f"{self._state_dir} has become empty: is its volume there?")
        file, slot = self._file, self.slot
        self._file = self.slot = None
        if file is not None and slot is not None:
            with contextlib.suppress(sqlite3.Error):
                file.close()
            slot.release()
        take_slot(self._state_dir, self._pool, self.open)
        self._had_slot = True

    def open(self, slot: Slot) -> None:
        """Use a slot, with the IMs in it. Raises OSError if it can't be used, or is another pool's."""
        try:
            file = SpoolFile(slot.folder / SPOOL_FILE, _ballast_for(slot.folder, self._max_bytes))
        except sqlite3.Error as error:
            raise OSError(f"{slot.folder / SPOOL_FILE}: {error}") from error
        pool = slot.pool
        if not pool:
            with contextlib.suppress(sqlite3.Error, OSError):
                pool = _pool_of(file.first(1, 1))
        if not slot.pool:
            with contextlib.suppress(OSError):  # its IMs say it too
                slot.name_pool(pool or self._pool)
        if pool not in ("", self._pool):
            file.close()
            raise OSError(f"it is of pool {pool!r}")
        self.slot, self._file = slot, file
        self.trouble = _FULL_DISK if file.full else ""
        self._first, self._sent, self._answered = [], [], set()

    @property
    def count(self) -> int:
        """The number of IMs on disk."""
        return self._file.count if self._file is not None else 0

    def put(self, im: CheckedIM, decision: Decision, receipt: Receipt) -> "asyncio.Future[None]":
        """Take an IM; the result is done when the IM is on disk. Raises SpoolError, now or by the result.

        An IM that is answered before that, refused or confirmed by the broker after all, is not sent.
        """
        if self._file is None:
            raise SpoolError(self.trouble)
        content = _encoder.encode(SpooledIM(im, decision, self._pool))
        if self._file.size + self._waiting_bytes + len(content) > self._max_bytes:
            self.trouble = f"the spool is full: {self._max_bytes} bytes"
            raise SpoolError(self.trouble)
        written = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(content, receipt, written))
        self._waiting_bytes += len(content)
        self._work.set()
        return written

    async def run(self) -> None:
        """Write IMs to disk, until cancelled."""
        self._show()
        while True:
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._work.wait()
            except TimeoutError:
                await self._look()
                continue
            self._work.clear()
            while self._waiting:
                await self._write()

    async def _look(self) -> None:
        """Look if trouble is over."""
        try:
            if await self._run(self._look_at_disk):
                self.trouble = ""
        except SpoolError as error:
            self.note_trouble(str(error))
        self._show()

    def _look_at_disk(self) -> bool:
        """Return True if it takes IMs again. Raises sqlite3.Error or OSError if it can't."""
        if self._file is not None and self.slot is not None:
            if self.slot.stands():
                return bool(self.trouble) and self._file.size < self._max_bytes / 2 and self._file.try_out()
            if self._file.count:  # it can still be read, as it is open
                raise FileNotFoundError(f"{self.slot.folder} is gone")
        self.take_slot()
        return not self.trouble

    def note_trouble(self, why: str) -> None:
        """Note, and log once, why no IM is spooled."""
        if why != self.trouble:
            self.trouble = why
            log.error("nothing can be spooled", extra={"why": why[:300]})

    async def _write(self) -> None:
        file = self._file
        number = size = 0
        while number < len(self._waiting) and size < _WRITE_BYTES:
            size += len(self._waiting[number].content)
            number += 1
        group, self._waiting = self._waiting[:number], self._waiting[number:]
        wanted = [waiting for waiting in group if waiting.receipt.fate is None]
        trouble = "" if wanted else self.trouble
        try:
            if file is None:
                raise SpoolError(self.trouble)
            if wanted:
                last = await self._run(file.append, [waiting.content for waiting in wanted])
                places = enumerate(wanted, last - len(wanted) + 1)
                self._answered |= {place for place, waiting in places if waiting.receipt.fate is not None}
        except SpoolError as error:
            trouble = _FULL_DISK if file is not None and file.full else str(error)
        self.trouble = trouble
        self._waiting_bytes -= size
        for waiting in group:
            if not waiting.written.done():
                if trouble:
                    waiting.written.set_exception(SpoolError(trouble))
                else:
                    waiting.written.set_result(None)
        if not trouble:
            SPOOLED.inc(len(wanted))
        self._show()

    async def first(self, most: int, most_bytes: int) -> list[SpooledIM]:
        """Return the oldest IMs, about as many as allowed; none if none can be sent. Raises SpoolError."""
        file, self._first = self._file, []
        if file is None:
            return []
        if self._sent:
            await self._remove_sent(file)
        spooled, unreadable = [], []
        for row in await self._reach(file.first, most, most_bytes):
            if row.place in self._answered:
                self._first.append(row)
                continue
            try:
                spooled.append(self._read(row))
                self._first.append(row)
            except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
                log.critical(
                    "an IM in the spool can't be read: it stays in the table unreadable of its file",
                    extra={"place": row.place, "error": str(error)[:200]},
                )
                unreadable.append(row)
        if unreadable:
            await self._reach(file.set_aside, unreadable)
            self._show()
        if spooled:
            SPOOL_OLDEST.set(milliseconds_of(spooled[0].im.id) / 1000)
        return spooled

    def _read(self, row: Row) -> SpooledIM:
        """Return the IM of a row. Raises ValueError, or an error of msgspec's, if it isn't one to send."""
        if not row.whole:
            raise ValueError("its checksum differs")
        spooled = _decoder.decode(row.content)
        if spooled.pool not in ("", self._pool):
            raise ValueError(f"it is of pool {spooled.pool!r}")
        return spooled

    async def remove_first(self) -> None:
        """Delete the rows that the last ``first`` returned. On SpoolError the next ``first`` deletes them
        before it reads."""
        self._sent, self._first = self._first, []
        if self._file is not None:
            await self._remove_sent(self._file)

    async def _remove_sent(self, file: SpoolFile) -> None:
        if not self._sent:
            return
        await self._reach(file.remove, self._sent)
        DRAINED.inc(len(self._sent))
        self._answered -= {row.place for row in self._sent}
        self._sent = []
        if file.full:
            self.trouble = _FULL_DISK
        elif file.size < self._max_bytes / 2:  # not for a few that would fill it again at once
            self.trouble = ""
        self._show()

    async def _reach(self, function: "Callable[..., _Result]", *arguments: object) -> _Result:
        """Call a function on the file, on behalf of sending; note why that fails."""
        try:
            result = await self._run(function, *arguments)
        except SpoolError as error:
            if str(error) != self.stuck:  # else it is known
                self.stuck = str(error)
                log.error("the spool can't be sent", extra={"error": self.stuck[:200]})
            raise
        self.stuck = ""
        return result

    async def rescue(self) -> str:
        """Take over IMs of our own damaged file that could not be before; return why that still fails, else
        "".

        Raises SpoolError.
        """
        if self._file is None:
            return ""
        await self._run(self._file.rescue_again)
        self._show()
        return self._file.unrescued

    async def adopt(self, slot: Slot) -> "Adopted":
        """Take over the IMs of a slot of our pool, as far as there is room. Raises SpoolError.

        How far a file was copied is noted with the copies: IMs that can't be removed there come here once all
        the same.
        """
        file = self._file
        if file is None:
            raise SpoolError(self.trouble)
        left = LeftFile(slot.folder / SPOOL_FILE)
        ims = 0
        try:
            await self._run(left.open)
            pool = await self._run(lambda: slot.pool or _pool_of(left.next_rows(1, 1)))
            if pool in ("", self._pool):
                source = slot.folder.name
                await self._run(left.begin_copy, file, source)
                while file.size < self._max_bytes:
                    copied = await self._run(left.copy_some, file, source, _ADOPT_IMS, _WRITE_BYTES)
                    if not copied:
                        break
                    ims += copied
                    self._show()
            return Adopted(pool, ims, await self._run(lambda: left.count), left.trouble or left.unrescued)
        finally:
            self._show()
            await self._run(left.close)  # also if this is cancelled: another may have the slot from then on

    def close(self) -> None:
        """Close the file, once all disk access is done; IMs stay on disk.

        Another front end may have the slot from then on, and must not see the file change.
        """
        if self._file is not None:
            self._thread.submit(self._file.close)
        self._thread.shutdown()

    async def _run(self, function: "Callable[..., _Result]", *arguments: object) -> _Result:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
        except (sqlite3.Error, OSError) as error:
            raise SpoolError(f"the spool's disk fails: {error}") from error

    def _show(self) -> None:
        SPOOL_IMS.set(self.count)
        SPOOL_BYTES.set(self._file.size if self._file is not None else 0)
        if self.count:
            self.filled.set()
        else:
            self.filled.clear()
            SPOOL_OLDEST.set(0)


def _pool_of(rows: Sequence[Row]) -> str:
    """Return the pool that an IM names; empty if it names none, or can't be read."""
    for row in rows:
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
            return _decoder.decode(row.content).pool
    return ""


def _ballast_for(folder: Path, max_bytes: int) -> int:
    """Return the bytes that a spool may need to be emptied: fewer if it, or its disk, is small."""
    return min(_BALLAST_BYTES, 2 * max_bytes + (256 << 10), shutil.disk_usage(folder).total // 2)
