"""Flags of hundreds of thousands of users in one change, from NDJSON or CSV: all of it or nothing."""

import codecs
import csv
import hashlib
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final

import msgspec
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from psycopg import Connection, Cursor
from pydantic import BaseModel

from admin_api.http.fields import parse_user
from admin_api.policy.changes import Change, Changes
from admin_api.policy.resources import ChangesDep
from admin_api.policy.weakening import number_of
from admin_api.policy.weighing import Weighing
from runtime.json_text import BOM, check_names
from runtime.problem import Problem

router = APIRouter(prefix="/v1/policy/users", tags=["users"])

_MAX_ERRORS: Final = 100
_MAX_LINE: Final = 10_000
_IN_MEMORY: Final = 1 << 20
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

# Two statements, not one with ON CONFLICT: nobody else writes users meanwhile, and so it takes two thirds of
# the time.
_UPDATE: Final = """
UPDATE policy.users AS u
SET archive_internal = c.archive_internal, archive_federated = c.archive_federated,
    deleted = false, version = %(version)s
FROM changed AS c
WHERE c.address = u.address AND NOT c.is_new
"""
_INSERT: Final = """
INSERT INTO policy.users (address, archive_internal, archive_federated, version)
SELECT address, archive_internal, archive_federated, %(version)s FROM changed WHERE is_new
"""
_PART: Final = 1000
# Beside the change's one record: as flags, a part of the list a row.
_UNFOLD: Final = """
INSERT INTO policy.audit_users (audit_id, part, addresses, before, after)
SELECT %(audit_id)s, part, array_agg(address ORDER BY address), array_agg(before ORDER BY address),
       array_agg(after ORDER BY address)
FROM (
    SELECT address, (row_number() OVER (ORDER BY address) - 1) / %(size)s AS part,
           ((before ->> 'archive_internal')::boolean::integer
            + 2 * (before ->> 'archive_federated')::boolean::integer)::smallint AS before,
           (archive_internal::integer + 2 * archive_federated::integer)::smallint AS after
    FROM changed
) AS c GROUP BY part ORDER BY part
"""
# One of those that it changes in the same way.
_ALIKE: Final = """
SELECT min(address) FROM changed
GROUP BY split_part(address, '@', 2), address LIKE 'sip:+%', before, archive_internal, archive_federated
"""
# Without a domain a number has the flags of all its homes in our domains, also of those that stay as they
# are: one of those numbers whose flags change in the same way.
_NUMBERS_ALIKE: Final = """
SELECT min(address) FROM (
    SELECT min(address) FILTER (WHERE c.address IS NOT NULL) AS address,
           bit_or(coalesce(u.archive_internal::integer + 2 * u.archive_federated::integer, 0)) AS before,
           bit_or(CASE WHEN c.address IS NULL
                  THEN u.archive_internal::integer + 2 * u.archive_federated::integer
                  ELSE c.archive_internal::integer + 2 * c.archive_federated::integer END) AS after
    FROM policy.users AS u FULL JOIN changed AS c USING (address)
    WHERE address LIKE 'sip:+%' AND split_part(address, '@', 2) IN (SELECT domain FROM policy.domains)
    GROUP BY split_part(address, '@', 1)
) AS numbers WHERE address IS NOT NULL GROUP BY before, after
"""
_CONTRADICTIONS: Final = """
SELECT (array_agg(line ORDER BY line))[1:5] AS lines FROM bulk GROUP BY address
HAVING count(DISTINCT (archive_internal, archive_federated)) > 1 ORDER BY lines LIMIT %s
"""


class UserLine(msgspec.Struct, forbid_unknown_fields=True):
    """A line of a bulk change. A flag that is left out stays as it is."""

    address: str
    archive_internal: bool | None = None
    archive_federated: bool | None = None


class BulkAnswer(BaseModel):
    """The result of a bulk change: ``changed`` counts users."""

    version: int
    lines: int
    changed: int


class LinesProblem(Problem):
    """Raised for lines that cannot be applied; then none of them is."""

    def __init__(self, errors: list[tuple[int, str]]) -> None:
        """``errors``: the first line numbers and what is wrong with each."""
        count = f"{len(errors)} lines are" if len(errors) > 1 else "A line is"
        more = " (and maybe more)" if len(errors) >= _MAX_ERRORS else ""
        super().__init__(422, f"Nothing was changed: {count} wrong{more}; see errors.")
        self._errors = errors

    def document(self) -> dict[str, Any]:
        """Return the problem with its ``errors`` by line."""
        return super().document() | {
            "errors": [{"line": line, "detail": text} for line, text in self._errors]
        }


@router.patch(
    "",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/x-ndjson": {
                    "schema": {"type": "string"},
                    "example": '{"address":"sip:yannis@contoso.com","archive_internal":true}\n',
                },
                "text/csv": {
                    "schema": {"type": "string"},
                    "example": "address,archive_internal,archive_federated\nyannis@contoso.com,true,false\n",
                },
            },
        }
    },
)
async def patch_users(request: Request, changes: ChangesDep) -> BulkAnswer:
    """Set the flags of many users in one change, one user a line: all of them or, if a line is wrong, none.

    A flag that a line leaves out (an empty cell) stays as it is. `If-Match` is about the whole policy. The
    audit trail has one record of the change (`policy.users.patch`), found by each user that it changed too;
    `GET /v1/audit/{id}/changes` lists them.
    """
    read = _reader_of(request)
    digest = hashlib.sha256()
    with SpooledTemporaryFile(_IN_MEMORY) as body:
        async for chunk in request.stream():
            digest.update(chunk)
            await run_in_threadpool(body.write, chunk)
        body.seek(0)
        return await run_in_threadpool(_apply, body, read, digest.hexdigest(), changes)


Reader = Callable[[IO[bytes]], Iterator[tuple[int, Callable[[], UserLine]]]]
"""Yields the number of each line, and a function that parses it, which may raise ValueError."""


def _reader_of(request: Request) -> Reader:
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
    with SpooledTemporaryFile(_IN_MEMORY) as recoded:
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
        while chunk := body.read(_IN_MEMORY):
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


def _apply(body: IO[bytes], read: Reader, digest: str, changes: Changes) -> BulkAnswer:
    with SpooledTemporaryFile(_IN_MEMORY) as rows:
        lines = _write_rows(read(body), rows)
        rows.seek(0)
        with changes.begin() as change:
            change.check(change.version)
            changed, weakenings = _store(rows, change)
            detail = {"lines": lines, "changed": changed, "sha256": digest}
            if changed:
                number = change.record("patch", "users", "users", detail=detail, weakenings=weakenings)
                _unfold(change, number)
            else:
                change.looked_at = "users", detail | {"tried": "policy.users.patch"}
            return BulkAnswer(version=change.version, lines=lines, changed=changed)


def _write_rows(lines: Iterator[tuple[int, Callable[[], UserLine]]], rows: IO[bytes]) -> int:
    """Write parsed lines as COPY wants them; return their number. Raises LinesProblem."""
    errors: list[tuple[int, str]] = []
    count = 0
    for number, parse in lines:
        try:
            line = parse()
            address = parse_user(line.address)
        except (ValueError, msgspec.DecodeError) as error:
            errors.append((number, str(error)))
            if len(errors) == _MAX_ERRORS:
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


def _store(rows: IO[bytes], change: Change) -> tuple[int, Sequence[str]]:
    """Apply rows as the next version; return the number of users changed, and sentences on the weakenings.

    Raises LinesProblem.
    """
    with _cursor_of(change) as cursor:
        cursor.execute("SET LOCAL statement_timeout = '120s'")
        cursor.execute("SELECT policy.open_bulk()")
        with cursor.copy("COPY bulk (line, address, archive_internal, archive_federated) FROM STDIN") as copy:
            while chunk := rows.read(_IN_MEMORY):
                copy.write(chunk)
        contradictions = cursor.execute(_CONTRADICTIONS, [_MAX_ERRORS]).fetchall()
        if contradictions:
            raise LinesProblem(
                [
                    (lines[0], f"lines {', '.join(map(str, lines))} of one address differ")
                    for (lines,) in contradictions
                ]
            )
        cursor.execute("SELECT policy.compare_bulk()")
        alike = [address for (address,) in cursor.execute(_ALIKE).fetchall()]
        if any(map(number_of, alike)):
            alike += [address for (address,) in cursor.execute(_NUMBERS_ALIKE).fetchall()]
        weighing = Weighing(change.session, alike)
        updated = cursor.execute(_UPDATE, {"version": change.next_version}).rowcount
        inserted = cursor.execute(_INSERT, {"version": change.next_version}).rowcount
        return updated + inserted, weighing.weakenings()


def _unfold(change: Change, number: int) -> None:
    """Write the users that the change changed beside its audit record."""
    with _cursor_of(change) as cursor:
        cursor.execute(_UNFOLD, {"audit_id": number, "size": _PART})


def _cursor_of(change: Change) -> Cursor:
    connection = change.session.connection().connection.driver_connection
    assert isinstance(connection, Connection)
    return connection.cursor()
