"""Stored content is rendered again, by the present code."""

import logging
from typing import Final, NamedTuple
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from archiving.rendering import Rendering, render

log = logging.getLogger("archiving")

_BATCH: Final = 200
"""IMs in memory at a time, and in a transaction."""


class _Stored(NamedTuple):
    id: UUID
    sent_at: object
    content_type: str
    content_encoding: str | None
    content: bytes
    body: str | None
    encryption: str | None


_READ: Final = (
    f"SELECT {', '.join(_Stored._fields)}"  # noqa: S608 - names of our own
    " FROM archive.contents_to_render(%s, %s)"
)


class Outcome(NamedTuple):
    """Counts of a run: IMs with content, and those that are rendered otherwise now."""

    looked_at: int
    changed: int


def render_again(database_url: str, who: str, *, anew: bool = False) -> Outcome:
    """Render all content in the archive again, in the order of ids; go on from where a run was cut short.

    Workers may store meanwhile. ``who`` stands in the audit trail; ``anew``: from the beginning in any case.
    Raises psycopg.Error: changes made by then stay, and the next run goes on from there;
    psycopg.errors.LockNotAvailable if another process renders already.
    """
    with psycopg.connect(database_url, autocommit=True) as connection:
        began = connection.execute(
            "SELECT archive.incarnation(), run, resumed FROM archive.begin_rendering(%s, %s)", [who, anew]
        )
        incarnation, run, resumed = began.fetchone() or (None, None, None)
        log.info("rendering again", extra={"run": run, "resumed": resumed, "who": who})
        while stored := _read(connection, run):
            _change(connection, incarnation, run, stored)
        ended = connection.execute(
            "SELECT looked_at, changed FROM archive.hold_incarnation(%s), archive.end_rendering(%s, %s)",
            [incarnation, run, who],
        )
        return Outcome(*(ended.fetchone() or (0, 0)))


def _read(connection: psycopg.Connection, run: object) -> list[_Stored]:
    with connection.cursor(row_factory=class_row(_Stored), binary=True) as cursor:
        return cursor.execute(_READ, [run, _BATCH]).fetchall()


def _change(connection: psycopg.Connection, incarnation: object, run: object, stored: list[_Stored]) -> None:
    """Store the renderings that differ; raises psycopg.Error if the archive was restored meanwhile."""
    changes = [
        (im.id, im.sent_at, new.text, new.encryption)
        for im in stored
        if (new := _render(im)) != Rendering(im.body, im.encryption)
    ]
    ids, times, bodies, encryptions = zip(*changes, strict=True) if changes else ((), (), (), ())
    connection.execute(
        "SELECT archive.hold_incarnation(%s),"
        " archive.set_renderings(%s, %s, %s, %s::uuid[], %s::timestamptz[], %s::text[], %s::text[])",
        [incarnation, run, stored[-1].id, len(stored), *map(list, (ids, times, bodies, encryptions))],
    )


def _render(im: _Stored) -> Rendering:
    """Render an IM as it came: as bytes, or as characters, stored in UTF-8. Its row doesn't say which."""
    rendering = render(im.content_type, im.content, im.content_encoding or "")
    if rendering.text != im.body and not im.content_encoding:
        as_text = render(im.content_type, im.content, is_text=True)
        if as_text.text == im.body:
            return as_text
    return rendering
