"""Lines of a bulk change of users, read from NDJSON or CSV."""

import codecs
import csv
import unicodedata
from collections.abc import Callable, Iterator
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final

import msgspec
from fastapi import Request

from admin_api.http.fields import parse_user
from runtime.json_text import BOM, check_names
from runtime.problem import Problem

MAX_ERRORS: Final = 100
_MAX_LINE: Final = 10_000
IN_MEMORY: Final = 1 << 20
_COLUMNS: Final = ("address", "archive_internal", "archive_federated")
_SEPARATORS: Final = ",;\t"
_TRUE: Final = (
    "TRUE 1 WAHR VRAI VERDADERO VERO VERDADEIRO WAAR SAND SANT SANN TOSI PRAWDA PRAVDA IGAZ DOĞRU ИСТИНА"
)
_FALSE: Final = "FALSE 0 FALSCH FAUX FALSO ONWAAR FALSK FALSKT USANN EPÄTOSI FAŁSZ NEPRAVDA HAMIS YANLIŞ ЛОЖЬ"
_WORDS: Final[dict[str, bool | None]] = {
    **{word.casefold(): True for word in _TRUE.split()},
    **{word.casefold(): False for word in _FALSE.split()},
    "": None,
}
"""Flags as spreadsheets write them in various languages."""


class UserLine(msgspec.Struct, forbid_unknown_fields=True):
    """A line of a bulk change. A flag that is left out stays as it is."""

    address: str
    archive_internal: bool | None = None
    archive_federated: bool | None = None


class LinesProblem(Problem):
    """Raised for lines that cannot be applied; then none of them is."""

    def __init__(self, errors: list[tuple[int, str]]) -> None:
        """``errors``: the first line numbers and what is wrong with each."""
        count = f"{len(errors)} lines are" if len(errors) > 1 else "A line is"
        more = " (and maybe more)" if len(errors) >= MAX_ERRORS else ""
        super().__init__(422, f"Nothing was changed: {count} wrong{more}; see errors.")
        self._errors = errors

    def document(self) -> dict[str, Any]:
        """Return the problem with its ``errors`` by line."""
        return super().document() | {
            "errors": [{"line": line, "detail": text} for line, text in self._errors]
        }


Reader = Callable[[IO[bytes]], Iterator[tuple[int, Callable[[], UserLine]]]]
"""Yields the number of each line, and a function that parses it, which may raise ValueError."""


def reader_of(request: Request) -> Reader:
    """Return the reader of a request's media type. Raises Problem (415)."""
    media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    reader = {"application/x-ndjson": _read_ndjson, "text/csv": _read_csv}.get(media_type)
    if reader is None:
        accepted = "application/x-ndjson, text/csv"
        raise Problem(
            415,
            f"Send {accepted}.",
            field="Content-Type",
            headers={"Accept-Patch": accepted},  # RFC 5789, 3.1
        )
    return reader


def _read_ndjson(body: IO[bytes]) -> Iterator[tuple[int, Callable[[], UserLine]]]:
    _skip_bom(body)
    for number, line in _lines_of(body):
        if not line.isspace():
            yield number, partial(_parse_line, line)


_decoder = msgspec.json.Decoder(UserLine)


def _parse_line(line: bytes) -> UserLine:
    parsed = _decoder.decode(line)
    check_names(line)
    return parsed


def _read_csv(body: IO[bytes]) -> Iterator[tuple[int, Callable[[], UserLine]]]:
    """Yield the lines of a spreadsheet's CSV: commas, semicolons or tabs, in UTF-8 or UTF-16."""
    if not (_starts_with(body, codecs.BOM_UTF16_LE) or _starts_with(body, codecs.BOM_UTF16_BE)):
        yield from _read_rows(body)
        return
    with SpooledTemporaryFile(IN_MEMORY) as recoded:
        _recode(body, recoded)
        yield from _read_rows(recoded)


def _read_rows(body: IO[bytes]) -> Iterator[tuple[int, Callable[[], UserLine]]]:
    _skip_bom(body)
    begin = body.tell()
    first = body.readline(_MAX_LINE).decode(errors="replace")
    body.seek(begin)
    header, separator = _read_header(first)
    rows = csv.reader((line.decode() for _, line in _lines_of(body)), delimiter=separator, strict=True)
    try:
        next(rows)
        for row in rows:
            if any(cell.strip() for cell in row):
                yield rows.line_num, partial(_parse_row, header, row)
    except UnicodeDecodeError as error:
        bad = error.object[error.start : error.end].hex(" ")
        why = f"byte {bad} at {error.start + 1} of it is not UTF-8: save it as CSV in UTF-8"
        raise LinesProblem([(rows.line_num + 1, why)]) from None
    except csv.Error as error:
        raise LinesProblem([(rows.line_num, str(error))]) from None


def _read_header(line: str) -> tuple[list[str], str]:
    """Return the columns that the first line names, and the separator of cells. Raises LinesProblem."""
    for separator in _SEPARATORS:
        try:
            header = [cell.strip() for cell in next(csv.reader([line], delimiter=separator, strict=True), [])]
        except csv.Error:
            continue
        if "address" in header and len(set(header)) == len(header) and set(header) <= set(_COLUMNS):
            return header, separator
    named = ", ".join(_COLUMNS)
    raise LinesProblem([(1, f"the header must name the columns {named}; it is {line.rstrip()[:100]!r}")])


def _recode(body: IO[bytes], recoded: IO[bytes]) -> None:
    """Write a text in UTF-16 as UTF-8. Raises LinesProblem."""
    body.seek(0)
    decoder = codecs.getincrementaldecoder("utf-16")()
    try:
        while chunk := body.read(IN_MEMORY):
            recoded.write(decoder.decode(chunk).encode())
        decoder.decode(b"", final=True)
    except UnicodeError as error:
        raise LinesProblem([(1, f"it begins as UTF-16, and is not: {error}")]) from None


def _skip_bom(body: IO[bytes]) -> None:
    body.seek(len(BOM) if _starts_with(body, BOM) else 0)


def _starts_with(body: IO[bytes], mark: bytes) -> bool:
    body.seek(0)
    return body.read(len(mark)) == mark


def _lines_of(body: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(iter(lambda: body.readline(_MAX_LINE), b""), 1):
        if len(line) == _MAX_LINE:
            raise LinesProblem([(number, f"longer than {_MAX_LINE} bytes")])
        yield number, line


def _parse_row(header: list[str], row: list[str]) -> UserLine:
    if len(row) != len(header):
        raise ValueError(f"has {len(row)} cells, the header {len(header)}")
    cells = {name: cell.strip() for name, cell in zip(header, row, strict=True)}
    return UserLine(cells.pop("address"), **{name: _parse_flag(name, cell) for name, cell in cells.items()})


def _parse_flag(name: str, cell: str) -> bool | None:
    word = unicodedata.normalize("NFC", cell).casefold()
    if word not in _WORDS:
        raise ValueError(f"{name} is {cell[:20]!r}: write true or false")
    return _WORDS[word]


def write_rows(lines: Iterator[tuple[int, Callable[[], UserLine]]], rows: IO[bytes]) -> int:
    """Write parsed lines as COPY wants them; return their number. Raises LinesProblem."""
    errors: list[tuple[int, str]] = []
    count = 0
    for number, parse in lines:
        try:
            line = parse()
            address = parse_user(line.address)
        except (ValueError, msgspec.DecodeError) as error:
            errors.append((number, str(error)))
            if len(errors) == MAX_ERRORS:
                break
            continue
        count += 1
        # An address holds neither white space nor a backslash, so COPY's text format needs no escapes.
        internal, federated = _FLAGS[line.archive_internal], _FLAGS[line.archive_federated]
        rows.write(f"{number}\t{address}\t{internal}\t{federated}\n".encode())
    if errors:
        raise LinesProblem(errors)
    return count


_FLAGS: Final = {True: "t", False: "f", None: r"\N"}
