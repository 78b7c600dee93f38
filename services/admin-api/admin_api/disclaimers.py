"""Which partners were told that a conversation is archived: once each, whatever front end it passes."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Security
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select, text, tuple_

from admin_api import audit
from admin_api.conversations import ConversationFilter
from admin_api.database import DatabaseOf
from admin_api.fields import MAX_BIGINT, Address, Document, Language, Name, Text, Wording
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


class NoticeSearch(ConversationFilter):
    """Whom and where."""

    model_config = ConfigDict(extra="forbid")  # a filter misspelt must not give everything

    partner: Address | None = Field(None, examples=["sip:bob@fabrikam.com"])
    after: Annotated[int, Field(ge=1, le=MAX_BIGINT, description="The `next` of the page before")] = (
        MAX_BIGINT
    )
    limit: int = Field(100, ge=1, le=1000, description="How many at most")


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
    search: Annotated[NoticeSearch, Query()], actor: Officer, database: DatabaseOf
) -> NoticePage:
    """List who was told that a conversation is archived: when, with which IM, in which words."""
    with database.transaction() as session:
        page = find_notices(session, search.keys, search.partner, search.after, search.limit)
        asked = search.model_dump(include={"conversation", "connector", "partner"}, exclude_none=True)
        detail = asked | {"count": len(page.disclaimers)}
        audit.record(session, actor, "archive.disclaimers", "disclaimers", detail=detail)
    return page


def find_notices(
    session: Session,
    conversations: Sequence[str],
    partner: str | None = None,
    after: int = MAX_BIGINT,
    limit: int = 1000,
) -> NoticePage:
    """Return who was told, as it was noted, newest first; ``conversations``: keys, none for all.

    Whoever asks must be in the audit trail.
    """
    query = select(NoticeRow).where(col(NoticeRow.id) < after)
    if conversations:
        query = query.where(col(NoticeRow.conversation).in_(conversations))
    if partner is not None:
        query = query.where(col(NoticeRow.partner) == partner)
    rows = session.exec(query.order_by(col(NoticeRow.id).desc()).limit(limit + 1)).all()
    return NoticePage(
        disclaimers=[NoticeSent(**row.model_dump(exclude={"id"})) for row in rows[:limit]],
        next=rows[limit - 1].id if len(rows) > limit else None,
    )
