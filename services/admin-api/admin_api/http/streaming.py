"""Files that are streamed to a client while they are made, and cells of CSV that are safe to open."""

import csv
import io
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain
from typing import Final

from fastapi.responses import StreamingResponse

_CHUNK: Final = 65_536
_BOM: Final = "\ufeff"


def stream_file(chunks: Iterator[str], name: str, media_type: str) -> StreamingResponse:
    """Return the answer that sends a file's chunks, in UTF-8, under a name.

    The first chunk is made before anything is sent, so an error there is answered as a problem.
    """
    return StreamingResponse(
        chain([next(chunks)], chunks),
        media_type=f"{media_type}; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def write_csv(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, bom: bool = False
) -> Iterator[str]:
    """Yield a file (RFC 4180) in chunks; ``bom``: it begins with a byte order mark."""
    buffer = io.StringIO()
    buffer.write(_BOM if bom else "")
    writer = csv.writer(buffer)
    writer.writerow(columns)
    for row in rows:
        writer.writerow(row)
        if buffer.tell() > _CHUNK:
            yield _take_all(buffer)
    yield _take_all(buffer)


def _take_all(buffer: io.StringIO) -> str:
    """Return the text of a buffer, and empty it."""
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text


def time_cell(at: datetime) -> str:
    """Return a time with microseconds, also where they are 0."""
    return at.isoformat(timespec="microseconds")


def text_cell(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula (OWASP, "CSV injection").

    One that might be, or that begins with an apostrophe itself, gets an apostrophe before it.
    """
    bare = unicodedata.normalize("NFKC", text).lstrip()
    return f"'{text}" if bare[:1] in tuple("=+-@'") or text[:1] != text[:1].strip() else text
