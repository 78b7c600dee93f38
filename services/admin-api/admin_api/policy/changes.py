"""Changes of policy: each one transaction with its audit record and its new version."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends
from sqlmodel import Session, col, func, select, update

from admin_api import audit, metrics
from admin_api.access.bulkheads import DatabaseDep
from admin_api.access.principals import Actor, ActorDep
from admin_api.http.preconditions import Preconditions, find_etag, read_preconditions
from admin_api.policy.announcements import AnnouncementsDep
from admin_api.policy.weighing import weigh
from admin_api.tables.policy import FrontEndRow, PolicyRow, UserRow, VersionRow
from runtime.problem import Problem

log = logging.getLogger("security")

Row = TypeVar("Row", bound=PolicyRow)

_LOST_AT_MOST: Final = 1_000_000
"""Versions that a restore takes back, at most: a front end that reports a higher one is wrong."""


class Change:
    """A change that is being made. It holds the lock on the version, so no other change comes between."""

    def __init__(self, session: Session, actor: Actor, preconditions: Preconditions) -> None:
        """Wait for the lock. The session's transaction must be new."""
        self.session = session
        self.actor = actor
        self._preconditions = preconditions
        self.version = session.exec(select(VersionRow.version).with_for_update()).one()
        self.weakened: list[dict[str, str]] = []
        """Weakenings, for the security log."""
        self.looked_at: tuple[str, dict[str, Any]] | None = None
        """The user whom the answer tells of, and the flags: a read, also if nothing is changed."""
        self.next_version = self._find_next()
        """The version that this change makes, if it changes anything."""

    def _find_next(self) -> int:
        """Return a number that no IM carries: front ends may know of versions that a restore took back."""
        highest = col(FrontEndRow.highest)
        query = select(func.max(highest)).where(highest <= self.version + _LOST_AT_MOST)
        return max(self.version, self.session.exec(query).one() or 0) + 1

    def put(self, new: Row) -> tuple[Row, bool]:
        """Make a resource equal to ``new``; return it, and whether it was created. Raises Problem (412).

        If it is equal already, there is no new version and no audit record.
        """
        old = self._find(type(new), new.key, "put")
        if old is not None and old.settings() == new.settings():
            return old, False
        before = None if old is None else old.settings()
        weighing = weigh(self.session, type(new), new.key)
        new.version = self.next_version
        row = self.session.merge(new)
        weakenings = weighing.weakenings()
        self.record("put", new.KIND, new.key, before=before, after=new.settings(), weakenings=weakenings)
        return row, old is None

    def delete(self, table: type[PolicyRow], key: str) -> None:
        """Delete a resource. Raises Problem (404, 412)."""
        old = self._find(table, key, "delete")
        if old is None:
            raise not_found(table, key)
        before = old.settings()
        weighing = weigh(self.session, table, key)
        old.delete(self.session, self.next_version)
        self.record("delete", table.KIND, key, before=before, weakenings=weighing.weakenings())

    def _find(self, table: type[Row], key: str, verb: str) -> Row | None:
        if table is UserRow:
            self.looked_at = key, {"tried": f"{audit.POLICY_ACTIONS}{table.KIND}.{verb}"}
        row = self.session.get(table, key)
        found = row if row is not None and row.exists else None
        self.check(None if found is None else found.version)
        return found

    def check(self, version: int | None) -> None:
        """Check the caller's preconditions against a version. Raises Problem (412)."""
        self._preconditions.check(None if version is None else find_etag(self.session, version))

    def record(
        self,
        verb: str,
        kind: str,
        target: str,
        *,
        before: dict[str, Any] | None = None,
        after: dict[str, Any] | None = None,
        detail: dict[str, Any] | None = None,
        weakenings: Sequence[str] = (),
    ) -> int:
        """Take the next version, ``self.version`` from now on, and write the audit record; return its number.

        ``weakenings``: a sentence for each way in which policy is weaker than before.
        """
        self.session.exec(update(VersionRow).values(version=self.next_version))
        self.version, self.next_version = self.next_version, self.next_version + 1
        action = f"{audit.POLICY_ACTIONS}{kind}.{verb}"
        if weakenings:
            self.weakened.append({"action": action, "target": target, "how": "; ".join(weakenings)})
        return audit.record(
            self.session,
            self.actor,
            action,
            target,
            before=before,
            after=after,
            version=self.version,
            detail=detail,
            weakened=bool(weakenings),
        )


class Changes:
    """A dependency that lets an administrator change policy."""

    def __init__(
        self,
        actor: ActorDep,
        preconditions: Annotated[Preconditions, Depends(read_preconditions)],
        database: DatabaseDep,
        announcements: AnnouncementsDep,
    ) -> None:
        self._actor = actor
        self._preconditions = preconditions
        self._database = database
        self._announcements = announcements

    @contextmanager
    def begin(self) -> Iterator[Change]:
        """Yield a change: it is committed at the end, and then front ends hear of its version, if it made
        one.

        A change that changes nothing, or is refused, leaves an audit record if its answer tells of a user.
        """
        change: Change | None = None
        try:
            with self._database.transaction() as session:
                change = Change(session, self._actor, self._preconditions)
                before = change.version
                yield change
        except Problem:
            self._record_look(change)
            raise
        if change.version == before:
            self._record_look(change)
        for fields in change.weakened:
            log.warning(
                "policy weakened", extra={"caller": self._actor.name, "version": change.version} | fields
            )
        metrics.POLICY_VERSION.set(change.version)
        if change.version != before:
            self._announcements.announce(change.version)

    def _record_look(self, change: Change | None) -> None:
        if change is not None and change.looked_at is not None:
            target, detail = change.looked_at
            with self._database.transaction() as session:
                audit.record(session, self._actor, audit.USER_READ, target, detail=detail)


def not_found(table: type[PolicyRow], key: str) -> Problem:
    """Return the answer for a resource that does not exist."""
    return Problem(404, f"There is no {table.KIND} {key}.", field=table.KEY)
