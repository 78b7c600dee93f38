"""Policy of users: their flags, one by one and a page at a time."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, StrictBool

from admin_api import audit
from admin_api.access.bulkheads import DatabaseDep
from admin_api.access.principals import ActorDep
from admin_api.http.fields import AddressInPath, Document, KnownAddress, Limit, Text, UserInPath
from admin_api.names.looks import Looked
from admin_api.policy.queries import find_users
from admin_api.policy.resources import ChangesDep, delete, find, put
from admin_api.tables.policy import PolicyRow, UserRow

router = APIRouter(prefix="/v1/policy/users", tags=["users"])


class UserDocument(Document):
    """A user's flags. They count only where the global setting of the scope is ``per_user``."""

    archive_internal: StrictBool
    archive_federated: StrictBool


class UserAnswer(UserDocument, Looked):
    """A user's flags, since ``version``."""

    version: int


class UserPage(BaseModel):
    """Some users, by address; ``next`` is the ``after`` of the page that follows, null on the last."""

    users: list[UserAnswer]
    next: str | None


@router.get("", response_model=UserPage)
def list_users(
    actor: ActorDep,
    database: DatabaseDep,
    search: Annotated[Text | None, Query(description="Contained in the address")] = None,
    after: Annotated[KnownAddress | None, Query(description="The `next` of the page before")] = None,
    limit: Limit = 100,
) -> object:
    """List users by address. Each look is written to the audit trail."""
    with database.transaction() as session:
        rows = find_users(session, search, after, limit + 1)
        asked = {"search": search, "after": after, "limit": limit}
        detail = audit.asked(asked) | {"count": len(rows[:limit])}
        audit.record(session, actor, "users.list", "users", detail=detail)
    return {"users": rows[:limit], "next": rows[limit - 1].address if len(rows) > limit else None}


@router.get("/{address:path}", response_model=UserAnswer)
def get_user(address: AddressInPath, actor: ActorDep, database: DatabaseDep, response: Response) -> PolicyRow:
    """Return a user's flags; 404 if they were never set. Each look is written to the audit trail."""
    with database.transaction() as session:
        audit.record(session, actor, audit.USER_READ, address)  # that there are none tells of somebody too
    return find(database, UserRow, address, response)


@router.put("/{address:path}", response_model=UserAnswer, responses={201: {"description": "Created"}})
def put_user(
    address: UserInPath, document: UserDocument, changes: ChangesDep, response: Response
) -> PolicyRow:
    """Set a user's flags."""
    return put(changes, UserRow(address=address, **document.model_dump()), response)


@router.delete("/{address:path}", status_code=204, response_class=Response)
def delete_user(address: AddressInPath, changes: ChangesDep) -> None:
    """Clear a user's flags, and delete the user."""
    delete(changes, UserRow, address)
