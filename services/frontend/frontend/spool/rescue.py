"""Rescue: reads the rows of a spool's file that SQLite can't read, page by page.

SQLite refuses a file whose first page is damaged, stops at the first damaged page of a table, and drops
without a word what its log has behind a damaged place. Here each page is looked at alone, the log's too
(https://sqlite.org/fileformat2.html).
"""

import contextlib
import hashlib
import os
import stat
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple, Self

import msgspec

_ASIDE: Final = "damaged"
_SENT: Final = ".sent"
"""Ends the name of a note beside a file set aside: the spool that took it over may be damaged in its turn."""
_PAGE: Final = 4096
"""SQLite's page size."""
_HEADER: Final = struct.pack(">16sH6B", b"SQLite format 3\0", _PAGE, 2, 2, 0, 64, 32, 32)
"""How a file in WAL mode begins."""
_WAL_HEADER: Final = 32
_FRAME_HEADER: Final = 24
_WAL_ORDERS: Final = {b"\x37\x7f\x06\x82": "<", b"\x37\x7f\x06\x83": ">"}
_WAL_KIND: Final = struct.pack(">II", 3007000, _PAGE)
_FEW: Final = 8
_LEAF: Final = 13
_MOST_PLACE: Final = 1 << 53


class Row(NamedTuple):
    """An IM in the file."""

    place: int
    """Its place in the order; never used twice."""
    content: bytes
    checksum: int | None = None
    """Of the content; None in a file of before."""

    @property
    def whole(self) -> bool:
        """True if the content is as it was written, as far as that can be known."""
        return self.checksum is None or self.checksum == zlib.crc32(self.content)


def log_of(path: Path) -> Path:
    """Return the path of the log that SQLite keeps beside a file."""
    return path.with_name(f"{path.name}-wal")


def set_aside(path: Path) -> Path:
    """Give a damaged file and its log another name, their bytes untouched; return it. Raises OSError."""
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"
    aside = path.with_name(f"{path.stem}.{_ASIDE}-{stamp}{path.suffix}")
    if log_of(path).exists():  # first: SQLite deletes a log that has no file
        log_of(path).rename(log_of(aside))
    if path.exists():
        path.rename(aside)
    return aside


def files_aside(path: Path) -> list[Path]:
    """Return the files that were set aside beside one; of one, only the log may be there. Raises OSError."""
    found = path.parent.glob(f"{path.stem}.{_ASIDE}-*{path.suffix}*")
    return sorted({each.with_name(each.name.removesuffix("-wal")) for each in found})


def note_sent(path: Path) -> None:
    """Note beside all files set aside that their readable rows are sent. Raises OSError."""
    for aside in files_aside(path):
        if not is_sent(aside):
            aside.with_suffix(_SENT).touch()


def is_sent(aside: Path) -> bool:
    """Return True if that is noted. Raises OSError."""
    return aside.with_suffix(_SENT).exists()


def seal_of(place: int) -> bytes:
    """Return a seal, which a damaged note of a place has not."""
    return hashlib.blake2b(str(place).encode(), digest_size=8).digest()


def check_header(path: Path) -> str:
    """Return the fault in a file's first bytes or its log; empty if there is none. Raises OSError."""
    size, logged = _size_of(path), _size_of(log_of(path))
    if not size:
        return "its log has no file" if logged > _WAL_HEADER else ""
    with path.open("rb") as file:
        header = file.read(100)
    if header[:24] != _HEADER:
        return "its header is damaged"
    return "its log is damaged" if logged > _WAL_HEADER and _lacks_commits(log_of(path)) else ""


def read_rows(path: Path, after: int = 0, unread: list[OSError] | None = None) -> Iterator[Row]:
    """Return the rows behind a place that can be read, in order, and weren't taken out.

    Raises OSError if none can be; else ``unread`` has why a part can't.
    """
    with _Pages(path) as pages:
        found: dict[int, tuple[int, int]] = {}
        removed = after
        for number in pages.numbers():
            page = pages.page(number)
            for cell in range(_cells_of(page)):
                place, values = _read_cell(page, cell, pages)
                match values:
                    case [None, int(noted), bytes(seal)] if seal == seal_of(noted):
                        removed = max(removed, noted)
                    case [None, bytes(content), *rest] if 0 < place < _MOST_PLACE:
                        if _is_right(content, rest, known=place in found):
                            found[place] = (number, cell)
        if pages.trouble is not None:
            if not found:
                raise pages.trouble
            if unread is not None:
                unread.append(pages.trouble)
        for place in sorted(found):
            if place > removed:
                number, cell = found[place]
                _, values = _read_cell(pages.page(number), cell, pages)
                match values:
                    case [None, bytes(content), int(checksum)]:
                        yield Row(place, content, checksum)
                    case [None, bytes(content), *_]:
                        yield Row(place, content)


def _is_right(content: bytes, rest: list[object], *, known: bool) -> bool:
    """Return True if a row's content is as it was written; in a file of an earlier version, if it can be
    read."""
    match rest:
        case [int(checksum)]:
            return checksum == zlib.crc32(content)
        case [] | [None]:
            return not known and _is_json(content)
    return False


def _is_json(content: bytes) -> bool:
    try:
        msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def _size_of(path: Path) -> int:
    """Return how many bytes a file has; 0 if there is none. Raises OSError if it is something else."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0
    if not stat.S_ISREG(found.st_mode):  # to open a pipe would take for ever
        raise OSError(f"{path} is no file")
    return found.st_size


class _Frame(NamedTuple):
    page: int
    commits: bool
    valid: bool
    start: int
    """Where in the log its page is."""


class _Readable:
    """A file, read piece by piece; bytes on a bad sector count as missing."""

    def __init__(self, path: Path) -> None:
        """One that isn't there is empty. Raises OSError if it can't be opened."""
        self.size = _size_of(path)
        self.trouble: OSError | None = None
        """Why a piece can't be read."""
        self._file = path.open("rb") if self.size else None

    def read(self, size: int, start: int) -> bytes:
        """Return the bytes from a place, fewer at the end, none if they can't be read."""
        if self._file is None:
            return b""
        try:
            return os.pread(self._file.fileno(), size, start)
        except OSError as error:
            self.trouble = error
            return b""

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


class _Pages:
    """The pages of a file and its log: of each the last valid one, and later ones that are damaged.

    A log may be as long as the file: the places of its pages are kept, not their content.
    """

    def __init__(self, path: Path) -> None:
        self._file = _Readable(path)
        self._log = _Readable(log_of(path))
        self._logged: dict[int, int] = {}
        self._damaged: list[int] = []
        for frame in _frames(self._log):
            if frame.valid:
                self._logged[frame.page] = frame.start
            else:
                self._damaged.append(frame.start)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._log.close()

    @property
    def trouble(self) -> OSError | None:
        """Why a page can't be read."""
        return self._file.trouble or self._log.trouble

    def page(self, number: int) -> bytes:
        """Return a page; those below 0 are damaged ones of the log."""
        start = self._damaged[-number - 1] if number < 0 else self._logged.get(number)
        if start is not None:
            return self._log.read(_PAGE, start)
        return self._file.read(_PAGE, (number - 1) * _PAGE) if number else b""

    def numbers(self) -> Iterator[int]:
        """Return the numbers of all pages but the first, which has no rows."""
        yield from range(2, max(self._file.size // _PAGE, *self._logged, 1) + 1)
        yield from range(-1, -len(self._damaged) - 1, -1)

    @property
    def size(self) -> int:
        """How many bytes a row may have at most."""
        return self._file.size + _PAGE * len(self._logged)


def _frames(log: _Readable) -> Iterator[_Frame]:
    """Return the frames of a log, those of before it began anew only if its header doesn't tell which."""
    starts = range(_WAL_HEADER, log.size - _FRAME_HEADER - _PAGE + 1, _FRAME_HEADER + _PAGE)
    salts = [log.read(8, start + 8) for start in starts]
    if not salts:
        return
    header, before = log.read(24, 0), log.read(8, 24)
    order = _WAL_ORDERS.get(header[:4], "<")
    known = header[:4] in _WAL_ORDERS and header[4:12] == _WAL_KIND
    known = valid = known and len(before) == 8 and _wal_checksum(order, bytes(8), header) == before
    salt = header[16:] if known else Counter(salts[:_FEW]).most_common(1)[0][0]
    last = max((index for index, each in enumerate(salts) if each == salt or not known), default=-1)
    for start, its_salt in zip(starts[: last + 1], salts, strict=False):
        head = log.read(_FRAME_HEADER, start) or bytes(_FRAME_HEADER)
        number, pages_after = struct.unpack_from(">II", head)
        page, checksum = log.read(_PAGE, start + _FRAME_HEADER), head[16:]
        valid = valid and its_salt == salt and len(page) == _PAGE
        valid = valid and _wal_checksum(order, before, head[:8] + page) == checksum
        yield _Frame(number, bool(pages_after), valid, start + _FRAME_HEADER)
        before, valid = checksum, True


def _wal_checksum(order: str, before: bytes, content: bytes) -> bytes:
    first, second = struct.unpack(">II", before)
    words = struct.unpack(f"{order}{len(content) // 4}I", content)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return struct.pack(">II", first, second)


def _lacks_commits(path: Path) -> bool:
    """Return True if a committed transaction stands behind a damaged place of a log: SQLite drops it."""
    damaged = False
    with contextlib.closing(_Readable(path)) as log:
        for frame in _frames(log):
            damaged |= not frame.valid
            if damaged and frame.commits:
                return True
    return False


def _cells_of(page: bytes) -> int:
    """Return how many rows a page may have: none if it isn't one of a table's rows."""
    if len(page) < _PAGE or page[0] != _LEAF:
        return 0
    return min(int.from_bytes(page[3:5]), (_PAGE - 8) // 2)


def _read_cell(page: bytes, cell: int, pages: _Pages) -> tuple[int, list[object]]:
    """Return a row's place and values; none if it can't be read."""
    try:
        (start,) = struct.unpack_from(">H", page, 8 + 2 * cell)
        length, start = _varint(page, start)
        place, start = _varint(page, start)
        return place, _values(_payload(page, start, length, pages))
    except (IndexError, ValueError, struct.error):
        return 0, []


def _payload(page: bytes, start: int, length: int, pages: _Pages) -> bytes:
    if length > pages.size:
        raise ValueError
    most, least = _PAGE - 35, (_PAGE - 12) * 32 // 255 - 23
    local = length
    if length > most:
        local = least + (length - least) % (_PAGE - 4)
        if local > most:
            local = least
    payload = [page[start : start + local]]
    if local < length:
        (number,) = struct.unpack_from(">I", page, start + local)
        rest = length - local
        while rest > 0:
            more = pages.page(number)
            (number,) = struct.unpack_from(">I", more)
            payload.append(more[4 : 4 + rest])
            rest -= _PAGE - 4
    return b"".join(payload)


def _values(payload: bytes) -> list[object]:
    """Return the values of a record; only numbers, blobs and NULL are told."""
    size, place = _varint(payload, 0)
    kinds: list[int] = []
    while place < size:
        kind, place = _varint(payload, place)
        kinds.append(kind)
    values: list[object] = []
    for kind in kinds:
        length = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)[kind] if kind < 10 else (kind - 12) // 2
        content = payload[place : place + length]
        if length < 0 or len(content) < length:
            raise ValueError
        place += length
        if kind == 0:
            values.append(None)
        elif kind in (8, 9):
            values.append(kind - 8)
        elif kind < 7:
            values.append(int.from_bytes(content, signed=True))
        else:
            values.append(content if kind >= 12 and kind % 2 == 0 else str(kind))
    return values


def _varint(content: bytes, place: int) -> tuple[int, int]:
    """Return a number of SQLite's and where it ends. Raises IndexError."""
    number = 0
    for _ in range(8):
        byte = content[place]
        place += 1
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            return number, place
    return number << 8 | content[place], place + 1
