"""Resources of policy: all kinds are found, put and deleted alike."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Response
from sqlmodel import Session

from admin_api.database import Database
from admin_api.http.preconditions import find_etag
from admin_api.policy.changes import Changes, not_found
from admin_api.tables.policy import PolicyRow

ChangesDep = Annotated[Changes, Depends()]
Check = Callable[[Session], None]


def _no_check(_: Session) -> None:
    """Allow the change, whatever the rest of policy is."""


def find(database: Database, table: type[PolicyRow], key: str, response: Response) -> PolicyRow:
    """Return a resource, and set its ETag in the response. Raises Problem (404)."""
    with database.transaction() as session:
        row = session.get(table, key)
        if row is None or not row.exists:
            raise not_found(table, key)
        response.headers["ETag"] = find_etag(session, row.version)
    return row


def put(changes: Changes, new: PolicyRow, response: Response, check: Check = _no_check) -> PolicyRow:
    """Make a resource equal to ``new``; the response is 201 if it was created. Raises Problem (412).

    ``check`` raises Problem if the rest of policy forbids the change.
    """
    with changes.begin() as change:
        check(change.session)
        row, created = change.put(new)
        response.headers["ETag"] = find_etag(change.session, row.version)
    response.status_code = 201 if created else 200
    return row


def delete(changes: Changes, table: type[PolicyRow], key: str, check: Check = _no_check) -> None:
    """Delete a resource; ``check`` as in ``put``. Raises Problem (404, 412)."""
    with changes.begin() as change:
        check(change.session)
        change.delete(table, key)
