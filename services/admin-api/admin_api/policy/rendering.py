"""Snapshots: policy as front ends fetch it, all of it or the changes since a version.

A snapshot is rendered once for all who ask for it, and whole: no session is held while a front end reads it.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, Any, Final, NamedTuple, TypeVar
from uuid import UUID

import msgspec
from fastapi import Depends, Request
from sqlmodel import Session, select

from admin_api.database import Database
from admin_api.policy.whole_policy import load_settings
from admin_api.tables.policy import StampRow, VersionRow
from contract.policy import PolicyUser
from contract.snapshot import encode_settings, encode_users

_ROWS: Final = 5000
_MOST_CHANGES: Final = 50_000
"""Users in an answer with changes; if more changed, it has all users."""
_MOST_KEPT: Final = 16
_KEPT_SECONDS: Final = 60.0
"""A row that is changed by hand makes no version, so a snapshot is made again after this time."""
_AT_ONCE: Final = 2
"""Sessions at once."""
# Flags as in contract.policy.Flags: 1 internal, 2 federated.
_USERS: Final = """
SELECT address, archive_internal::int + 2 * archive_federated::int FROM policy.users
WHERE archive_internal OR archive_federated
"""
_USERS_SINCE: Final = """
SELECT address, archive_internal::int + 2 * archive_federated::int FROM policy.users
WHERE version > %s
"""
_Found = TypeVar("_Found")


class _Key(NamedTuple):
    """A version, and the version since which changes are given; 0: all users are."""

    version: int
    stamp: UUID
    since: int


class _Kept(NamedTuple):
    body: bytes
    until: float
    """By the monotonic clock."""


class Snapshots:
    """Snapshots of the newest version, rendered when first asked for."""

    def __init__(self, database: Database) -> None:
        """``database``: at most two sessions of it are used at once."""
        self._database = database
        self._kept: dict[_Key, _Kept] = {}
        self._making: dict[_Key, asyncio.Task[bytes]] = {}
        self._turn = asyncio.Semaphore(_AT_ONCE)

    def forget(self) -> None:
        """Forget all snapshots: a front end's policy differs from the database's."""
        self._kept.clear()

    async def find(self, since: int, stamp: UUID | None) -> bytes:
        """Return the changes since a version, or everything. Raises errors of ``database.UNAVAILABLE``."""
        key = await self._ask(_find_key, since, stamp)
        kept = self._kept.get(key)
        if kept is not None and time.monotonic() < kept.until:
            return kept.body
        making = self._making.get(key)
        if making is None:
            making = self._making[key] = asyncio.create_task(self._make(key, stamp))
            making.add_done_callback(lambda _: self._making.pop(key))
        return await asyncio.shield(making)  # others wait for it, too

    async def _make(self, key: _Key, stamp: UUID | None) -> bytes:
        key, body = await self._ask(_render, key.since, stamp)
        kept = {other: each for other, each in self._kept.items() if other[:2] == key[:2] and other != key}
        if len(kept) >= _MOST_KEPT:
            kept.pop(next(other for other in kept if other.since))
        kept[key] = _Kept(body, time.monotonic() + _KEPT_SECONDS)
        self._kept = kept
        return body

    async def _ask(self, find: Callable[[Session, int, UUID | None], _Found], *what: Any) -> _Found:
        def ask() -> _Found:
            with self._database.snapshot() as session:
                return find(session, *what)

        async with self._turn:
            return await asyncio.to_thread(ask)


def _snapshots_of(request: Request) -> Snapshots:
    snapshots: Snapshots = request.app.state.snapshots
    return snapshots


SnapshotsDep = Annotated[Snapshots, Depends(_snapshots_of)]


def _find_key(session: Session, since: int, stamp: UUID | None) -> _Key:
    version, now = session.exec(select(VersionRow.version, VersionRow.stamp)).one()
    return _Key(version, now, since if _was(session, since, stamp) else 0)


def _render(session: Session, since: int, stamp: UUID | None) -> tuple[_Key, bytes]:
    """Return the changes since a version, and their key: policy may have changed since the request."""
    if not _was(session, since, stamp):
        since = 0
    settings = msgspec.structs.replace(load_settings(session), since=since)
    assert settings.stamp is not None
    connection = session.connection().connection.driver_connection
    assert connection is not None
    parts: list[bytes] = []
    # The driver's own cursor: a third of the ORM's time, and only some of the rows here at a time.
    with connection.cursor("users") as users:
        users.execute(_USERS_SINCE if since else _USERS, [since] if since else None)
        while rows := users.fetchmany(_ROWS):
            parts.append(encode_users(PolicyUser(*row) for row in rows))
            if since and len(parts) * _ROWS > _MOST_CHANGES:
                break
        else:
            key = _Key(settings.version, settings.stamp, since)
            return key, b"\n".join((encode_settings(settings), b"".join(parts)))
    return _render(session, 0, None)


def _was(session: Session, version: int, stamp: UUID | None) -> bool:
    """Return whether the database has been through a version with this stamp."""
    row = session.get(StampRow, version)
    return row is not None and row.stamp == stamp
