"""Call detail records as a file of comma-separated values."""

import csv
import io
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from admin_api.cdr.answers import SessionPage

_CSV_BYTES: Final = 65_536
_COLUMNS: Final = (
    *("session", "conversation", "scope", "pool", "started_at", "ended_at", "ended", "seconds", "messages"),
    *("archived", "participant", "caller", "sent", "client", "unseen", "attempts"),
)


def write_sessions(pages: Iterable[SessionPage]) -> Iterator[str]:
    """Yield the file (RFC 4180): a line for each who took part."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(_COLUMNS)
    for page in pages:
        for record in page.sessions:
            common = [
                record.id,
                _plain(record.conversation),
                record.scope,
                record.pool,
                _time(record.started_at),
                _time(record.ended_at) if record.ended_at else "",
                record.ended or "",
                f"{record.seconds:.3f}",
                record.messages,
                record.archived,
            ]
            for party in record.parties:
                tried = record.attempts.get(party.address, {})
                caller = party.address == record.caller
                writer.writerow(
                    [
                        *common,
                        _plain(party.address),
                        caller,
                        party.sent,
                        _plain(party.client or ""),
                        " ".join(record.unseen),
                        " ".join(f"{kind}={count}" for kind, count in tried.items()),
                    ]
                )
            if buffer.tell() > _CSV_BYTES:
                yield _taken(buffer)
    yield _taken(buffer)


def _taken(buffer: io.StringIO) -> str:
    """Return what was written, and begin anew."""
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text


def _time(at: datetime) -> str:
    """Return a time always written alike: also where its fraction is 0."""
    return at.isoformat(timespec="microseconds")


def _plain(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula (OWASP, "CSV injection").

    One that might be, or that begins with an apostrophe itself, gets an apostrophe before it.
    """
    bare = unicodedata.normalize("NFKC", text).lstrip()
    return f"'{text}" if bare[:1] in tuple("=+-@'") or text[:1] != text[:1].strip() else text
