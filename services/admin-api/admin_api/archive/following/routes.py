"""The route that follows the archive."""

from typing import Annotated

from fastapi import APIRouter, Query

from admin_api import audit
from admin_api.access.bulkheads import DatabaseDep
from admin_api.access.principals import ActorDep
from admin_api.archive.following.answers import Changes
from admin_api.archive.following.queries import (
    Cursor,
    find_changes,
)
from admin_api.http.fields import Limit
from admin_api.http.openapi import problem

router = APIRouter(prefix="/v1/messages", tags=["archive"])


@router.get(
    "/changes", responses={410: problem("The archive was restored since: start again without `after`")}
)
def follow(
    actor: ActorDep,
    database: DatabaseDep,
    after: Annotated[str | None, Query(max_length=100, description="The `next` of the answer before")] = None,
    limit: Limit = 100,
) -> Changes:
    """Return the IMs that were archived since a place in the order of commits, each once, however late.

    Without `after` the first IM comes first. An IM that is committed while an older transaction still runs
    comes when that transaction has ended. An `after` of the archive before it was restored from a backup is
    answered 410: the two archives differ, so start again without `after`. Reads that give IMs are written to
    the audit trail. Rendering an IM again, or deleting it, is no change.
    """
    cursor = None if after is None else Cursor.parse(after)
    changes = find_changes(database, cursor, limit)
    if changes.messages:
        ids = {"first": str(changes.messages[0].id), "last": str(changes.messages[-1].id)}
        detail = {"after": after, "count": len(changes.messages)} | ids
        with database.transaction() as session:
            audit.record(session, actor, "archive.follow", "messages", detail=detail)
    return changes
