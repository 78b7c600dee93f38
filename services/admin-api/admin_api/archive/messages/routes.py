"""Routes that read archived IMs. The audit trail has each read before its answer is sent."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from admin_api import audit
from admin_api.access.bulkheads import DatabaseDep
from admin_api.access.principals import ActorDep
from admin_api.archive.disclaimers.queries import find_notices
from admin_api.archive.messages.answers import Message, MessagePage
from admin_api.archive.messages.queries import find_message, find_page
from admin_api.archive.messages.search import (
    Search,
    check_search,
    count_without_text,
)
from admin_api.http.feature import SettingsDep
from admin_api.http.fields import ImId
from admin_api.names.people import find_unknown
from runtime.problem import Problem

router = APIRouter(prefix="/v1/messages", tags=["archive"])


@router.get("")
def search_messages(
    search: Annotated[Search, Query()], settings: SettingsDep, actor: ActorDep, database: DatabaseDep
) -> MessagePage:
    """Find archived IMs, a page at a time. Each search is written to the audit trail, with its result.

    A search that takes long ends when its time is up; the answer has the IMs found so far, perhaps none, and
    a `next` to go on from. Only a search that got nowhere in that time is answered 503.
    """
    check_search(search)
    unknown = find_unknown(database, search.user, search)
    detail = audit.asked(search)
    with audit.attempt(database, actor, "archive.search", "messages", detail, audit.NARROW):
        page = find_page(database, search, settings.search_seconds)
    page.unknown = unknown
    if search.text is not None:
        page.without_text = count_without_text(database, search, settings.search_seconds / 4)
    ids = [message.id for message in page.messages]
    detail |= {
        "count": len(ids),
        "first": str(ids[0]) if ids else None,
        "last": str(ids[-1]) if ids else None,
    }
    if search.text is not None:
        detail["without_text"] = page.without_text
    with database.transaction() as session:
        if search.conversation is not None:
            page.disclaimers = find_notices(session, search.keys).disclaimers
        audit.record(session, actor, "archive.search", "messages", detail=detail)
    return page


@router.get("/{id}")
def get_message(im_id: Annotated[ImId, Path(alias="id")], actor: ActorDep, database: DatabaseDep) -> Message:
    """Return an archived IM. Each read is written to the audit trail, even if there is no such IM."""
    with database.transaction() as session:
        found = find_message(session, im_id)
        audit.record(session, actor, "archive.read", str(im_id), detail={"count": int(found is not None)})
    if found is None:
        raise Problem(404, "There is no such IM in the archive.", field="id")
    return found
