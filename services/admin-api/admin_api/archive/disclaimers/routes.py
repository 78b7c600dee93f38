"""Routes of notices to partners."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from admin_api import audit
from admin_api.access.bulkheads import DatabaseDep
from admin_api.access.principals import ActorDep
from admin_api.archive.disclaimers.answers import Claim, Confirmation, NoticePage, Standing
from admin_api.archive.disclaimers.queries import (
    NoticeSearch,
    claim_notices,
    confirm_notices,
    find_notices,
    retract_notices,
)
from admin_api.http.fields import (
    ConnectorName,
)
from admin_api.names.people import find_unknown
from runtime.problem import Problem

router = APIRouter(prefix="/v1/disclaimers", tags=["archive"])
Digest = Annotated[
    str | None,
    Query(
        pattern="^([0-9a-f]{2}){16,32}$",
        description="Digest of the IM's content, which tells it from others of the same id",
    ),
]
HandedOver = Annotated[
    bool,
    Query(description="The notices were handed over already, while the API was away: they are only noted"),
]


@router.post("")
def claim(
    document: Claim, database: DatabaseDep, digest: Digest = None, handed_over: HandedOver = False
) -> Standing:
    """Note the notices that a front end hands over; answer the partners to be told.

    A claim that comes again for the same IM gets the same answer until the partners are told.
    """
    with database.transaction() as session:
        return claim_notices(
            session, document, bytes.fromhex(digest) if digest else None, handed_over=handed_over
        )


@router.post("/{im}/told", status_code=204, response_class=Response)
def confirm(im: UUID, document: Confirmation, database: DatabaseDep) -> None:
    """Note that a connector delivered the notices of an IM: their partners are told.

    404 if this connector was handed none with the IM. A second confirmation changes nothing.
    """
    with database.transaction() as session:
        count = confirm_notices(session, im, document)
    if not count:
        raise Problem(404, f"Connector {document.connector} was handed no notice with this IM.", field="im")


@router.delete("/{im}", status_code=204, response_class=Response)
def retract(
    im: UUID,
    actor: ActorDep,
    database: DatabaseDep,
    connector: ConnectorName | None = None,
) -> None:
    """Take back the notices that a connector was handed with an IM: they could not be delivered.

    Partners that were not told yet are told with the next IM. The notices stay in the audit trail. Without
    `connector`, as earlier front ends ask, the notices of all connectors are taken back.
    """
    with database.transaction() as session:
        retract_notices(session, im, actor, connector)


@router.get("")
def list_disclaimers(
    search: Annotated[NoticeSearch, Query()], actor: ActorDep, database: DatabaseDep
) -> NoticePage:
    """List the notices to partners: IM, wording, and when each was handed over and delivered."""
    unknown = find_unknown(database, [search.partner] if search.partner else [], search, "partner")
    with database.transaction() as session:
        page = find_notices(session, search.keys, search.partner, search.after, search.limit)
        asked = search.model_dump(include={"conversation", "connector", "partner"}, exclude_none=True)
        detail = asked | {"count": len(page.disclaimers)}
        audit.record(session, actor, "archive.disclaimers", "disclaimers", detail=detail)
    page.unknown = unknown
    return page
