"""Which partners were told that a conversation is archived: once each, whatever front end it passes."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Security
from pydantic import AwareDatetime, BaseModel, Field
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select, text, tuple_

from admin_api import audit
from admin_api.database import DatabaseOf
from admin_api.fields import MAX_BIGINT, Address, After, Document, Language, Limit, Name, Text, Wording
from admin_api.principals import Actor, Allow, Officer
from admin_api.tables import NoticeRow

router = APIRouter(prefix="/v1/disclaimers", tags=["archive"])


class Notice(Document):
    """What a partner is told."""

    partner: Address
    language: Language
    wording: Wording


class Claim(Document):
    """What a front end would tell the partners of a conversation, with an IM of it."""

    front_end: Name
    conversation: Text
    im: UUID
    at: AwareDatetime
    version: Annotated[int, Field(ge=0, le=MAX_BIGINT, description="Of the policy that words it")]
    notices: list[Notice] = Field(min_length=1, max_length=1000)


class Untold(BaseModel):
    """Who is to be told with this IM; others know already."""

    partners: list[str]


class NoticeSent(BaseModel):
    """That a partner was told: with which IM, in which words."""

    conversation: str
    partner: str
    im: UUID
    at: datetime
    front_end: str
    language: str
    wording: str
    version: int


class NoticePage(BaseModel):
    """Who was told, newest first; ``next`` is the ``after`` of the page that follows, null on the last."""

    disclaimers: list[NoticeSent]
    next: int | None


@router.post("", dependencies=[Security(Allow("frontend"))])
def claim(document: Claim, database: DatabaseOf) -> Untold:
    """Note whom a front end tells; answer who is to be told.

    Asked again with the same IM, it answers the same.
    """
    said = document.model_dump(exclude={"notices"})
    rows = [said | notice.model_dump() for notice in sorted(document.notices, key=lambda each: each.partner)]
    with database.transaction() as session:
        session.exec(insert(NoticeRow).values(rows).on_conflict_do_nothing())
        mine = select(NoticeRow.partner).where(
            tuple_(col(NoticeRow.conversation), col(NoticeRow.im)) == (document.conversation, document.im)
        )
        return Untold(partners=list(session.exec(mine)))


@router.delete("/{im}", status_code=204)
def retract(im: UUID, actor: Annotated[Actor, Security(Allow("frontend"))], database: DatabaseOf) -> None:
    """Take back that partners were told with an IM: the notice could not be delivered.

    They are told with the next. What was noted stays in the audit trail.
    """
    with database.transaction() as session:
        session.connection().execute(
            text("SELECT policy.retract_disclaimers(:im, :actor, :role)"),
            {"im": im, "actor": actor.name, "role": actor.role},
        )


@router.get("")
def list_disclaimers(
    actor: Officer,
    database: DatabaseOf,
    conversation: Annotated[Text | None, Query()] = None,
    partner: Annotated[Address | None, Query(examples=["sip:bob@fabrikam.com"])] = None,
    after: After = MAX_BIGINT,
    limit: Limit = 100,
) -> NoticePage:
    """List who was told that a conversation is archived: when, with which IM, in which words."""
    with database.transaction() as session:
        page = find_notices(session, conversation, partner, after, limit)
        detail = {"conversation": conversation, "partner": partner, "count": len(page.disclaimers)}
        audit.record(session, actor, "archive.disclaimers", "disclaimers", detail=detail)
    return page


def find_notices(
    session: Session,
    conversation: str | None = None,
    partner: str | None = None,
    after: int = MAX_BIGINT,
    limit: int = 1000,
) -> NoticePage:
    """Return who was told, as it was noted, newest first. Whoever asks must be in the audit trail."""
    query = select(NoticeRow).where(col(NoticeRow.id) < after)
    if conversation is not None:
        query = query.where(col(NoticeRow.conversation) == conversation)
    if partner is not None:
        query = query.where(col(NoticeRow.partner) == partner)
    rows = session.exec(query.order_by(col(NoticeRow.id).desc()).limit(limit + 1)).all()
    return NoticePage(
        disclaimers=[NoticeSent(**row.model_dump(exclude={"id"})) for row in rows[:limit]],
        next=rows[limit - 1].id if len(rows) > limit else None,
    )
