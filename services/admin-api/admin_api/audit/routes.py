"""Routes that read the audit trail."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from admin_api.access.bulkheads import DatabaseDep
from admin_api.access.principals import Actor, ActorDep
from admin_api.audit.answers import AuditPage, UserChangePage
from admin_api.audit.queries import AuditSearch, find_changes, find_records
from admin_api.audit.records import READ, asked, record
from admin_api.http.fields import MAX_BIGINT, KnownAddress, Limit, Text

router = APIRouter(tags=["audit"])


@router.get("/v1/audit")
def list_audit(actor: ActorDep, database: DatabaseDep, search: Annotated[AuditSearch, Query()]) -> AuditPage:
    """List audit records, newest first. An administrator sees the changes of policy only.

    A `target` is also found in bulk changes of users: `GET /v1/audit/{id}/changes` has the change of that
    user. Each look is written to the audit trail.
    """
    with database.transaction() as session:
        page = find_records(session, search, policy_only=_sees_policy_only(actor))
        record(session, actor, READ, "audit", detail=asked(search) | {"count": len(page.records)})
    return page


@router.get("/v1/audit/{id}/changes")
def list_audit_changes(
    number: Annotated[int, Path(ge=1, le=MAX_BIGINT, alias="id", examples=[7])],
    actor: ActorDep,
    database: DatabaseDep,
    user: Annotated[KnownAddress | None, Query(examples=["sip:yannis@contoso.com"])] = None,
    after: Annotated[Text | None, Query(description="The `next` of the page before")] = None,
    limit: Limit = 100,
) -> UserChangePage:
    """List the users that a bulk change (`policy.users.patch`) changed, with their flags before and after."""
    with database.transaction() as session:
        page = find_changes(
            session, number, user=user, after=after, limit=limit, policy_only=_sees_policy_only(actor)
        )
        detail = asked({"user": user, "after": after, "limit": limit}) | {"count": len(page.changes)}
        record(session, actor, READ, str(number), detail=detail)
    return page


def _sees_policy_only(actor: Actor) -> bool:
    return actor.role == "administrator"
