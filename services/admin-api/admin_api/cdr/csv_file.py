"""Call detail records as a file of comma-separated values."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from admin_api.cdr.answers import SessionPage
from admin_api.http.streaming import text_cell, time_cell

COLUMNS: Final = (
    *("session", "conversation", "scope", "pool", "started_at", "ended_at", "ended", "seconds", "messages"),
    *("archived", "participant", "caller", "sent", "client", "unseen", "attempts"),
)


def rows_of(pages: Iterable[SessionPage]) -> Iterator[Sequence[object]]:
    """Yield a row for each participant of each session."""
    for page in pages:
        for record in page.sessions:
            common = [
                record.id,
                text_cell(record.conversation),
                record.scope,
                record.pool,
                time_cell(record.started_at),
                time_cell(record.ended_at) if record.ended_at else "",
                record.ended or "",
                f"{record.seconds:.3f}",
                record.messages,
                record.archived,
            ]
            for party in record.parties:
                tried = record.attempts.get(party.address, {})
                yield [
                    *common,
                    text_cell(party.address),
                    party.address == record.caller,
                    party.sent,
                    text_cell(party.client or ""),
                    " ".join(record.unseen),
                    " ".join(f"{kind}={count}" for kind, count in tried.items()),
                ]
