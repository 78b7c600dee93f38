"""Which partners were told that a conversation is archived: once each, whatever front end it passes.

A notice is *handed over* once a connector was given it; its partner is *told* once that connector said that
it was delivered, and never before. Until then it is handed over again, at growing intervals.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response, Security
from pydantic import BaseModel, Field
from sqlmodel import Session, col, select, text

from admin_api import audit
from admin_api.access.bulkheads import DatabaseOf
from admin_api.access.principals import Actor, Allow, Officer
from admin_api.http.fields import (
    MAX_BIGINT,
    ConnectorName,
    Document,
    KnownAddress,
    Language,
    Name,
    Text,
    Time,
    Version,
    Wording,
)
from admin_api.names.conversations import ConversationFilter
from admin_api.names.looks import IfAny
from admin_api.names.people import UNKNOWN, find_unknown
from admin_api.tables.policy import NoticeRow, holds
from contract.conversation import filed_key
from runtime.problem import Problem

router = APIRouter(prefix="/v1/disclaimers", tags=["archive"])

_CONFIRM_WITHIN: Final = timedelta(hours=1)
"""A notice not confirmed by then is handed over again, however often it was before."""
_CLAIM: Final = text(
    "SELECT partner, to_tell, told FROM policy.claim_disclaimers(:conversation, :im, :connector, :front_end,"
    " :at, :version, :partners, :languages, :wordings, :confirm_within, :digest, :handed_over)"
)
_CONFIRM: Final = text("SELECT policy.confirm_disclaimers(:im, :connector, :at)")
_RETRACT: Final = text("SELECT policy.retract_disclaimers(:im, :actor, :role, :connector)")


Digest = Annotated[
    str | None,
    Query(pattern="^([0-9a-f]{2}){16,32}$", description="Tells the IM from others, whatever its id"),
]
HandedOver = Annotated[bool, Query(description="It was, while this could not be asked: nothing but noted")]


class Notice(Document):
    """What a partner is told."""

    partner: KnownAddress = Field(examples=["sip:bob@fabrikam.com"])
    language: Language = Field(examples=["en"])
    wording: Wording = Field(examples=["This conversation is archived."])


class Claim(Document):
    """Notices that a front end would hand to a connector with an IM, for the partners of its conversation."""

    front_end: Name = Field(examples=["frontend-1"])
    connector: ConnectorName | Literal[""] = Field("", examples=["edge"])
    conversation: Text = Field(examples=["p2p:sip:bob@fabrikam.com|sip:yannis@contoso.com"])
    im: UUID
    at: Time
    version: Annotated[Version, Field(description="Of the policy that words it")]
    notices: list[Notice] = Field(min_length=1, max_length=10_000)


class Standing(BaseModel):
    """Partners to be told with this IM, and those told already; of others it is not known yet."""

    partners: list[str]
    told: list[str]


class Confirmation(Document):
    """A connector's word that it delivered the notices that it was handed with an IM."""

    connector: ConnectorName = Field(examples=["edge"])
    at: Time


class NoticeSent(BaseModel):
    """A notice that was handed over: to tell whom, with which IM, in which words; is it delivered?"""

    conversation: str
    partner: str
    im: UUID
    state: Literal["handed_over", "told"] = Field(
        description="`told`: the connector said that it delivered the notice"
    )
    at: datetime = Field(description="When it was handed over")
    told_at: datetime | None
    connector: str = Field(description="To whom; empty if that was not kept yet")
    front_end: str
    language: str
    wording: str
    version: int


class NoticeSearch(ConversationFilter):
    """Whom and where."""

    partner: KnownAddress | None = Field(None, examples=["sip:bob@fabrikam.com"])
    after: Annotated[int, Field(ge=1, le=MAX_BIGINT, description="The `next` of the page before")] = (
        MAX_BIGINT
    )
    limit: int = Field(100, ge=1, le=1000, description="How many at most")


class NoticePage(BaseModel):
    """Who was told, newest first; ``next`` is the ``after`` of the page that follows, null on the last."""

    disclaimers: list[NoticeSent]
    next: int | None
    unknown: IfAny[list[str]] = Field(None, description=UNKNOWN)


@router.post("", dependencies=[Security(Allow("frontend"))])
def claim(
    document: Claim, database: DatabaseOf, digest: Digest = None, handed_over: HandedOver = False
) -> Standing:
    """Note what a front end hands over; answer who is to be told.

    Asked again with the same IM, it answers the same until they are told.
    """
    notices = document.notices
    with database.transaction() as session:
        found = session.connection().execute(
            _CLAIM,
            document.model_dump(exclude={"notices"})
            | {
                "conversation": filed_key(document.conversation),
                "partners": [each.partner for each in notices],
                "languages": [each.language for each in notices],
                "wordings": [each.wording for each in notices],
                "confirm_within": _CONFIRM_WITHIN,
                "digest": digest and bytes.fromhex(digest),
                "handed_over": handed_over,
            },
        )
        rows = found.all()
    return Standing(
        partners=[row.partner for row in rows if row.to_tell], told=[row.partner for row in rows if row.told]
    )


@router.post(
    "/{im}/told", status_code=204, response_class=Response, dependencies=[Security(Allow("frontend"))]
)
def confirm(im: UUID, document: Confirmation, database: DatabaseOf) -> None:
    """Note that a connector delivered what it was handed with an IM: its partners were told.

    404 if this connector was handed nothing with it. Confirmed again, it stays as it is.
    """
    with database.transaction() as session:
        count = session.connection().execute(_CONFIRM, {"im": im} | document.model_dump()).scalar_one()
    if not count:
        raise Problem(404, f"Connector {document.connector} was handed no notice with this IM.", field="im")


@router.delete("/{im}", status_code=204, response_class=Response)
def retract(
    im: UUID,
    actor: Annotated[Actor, Security(Allow("frontend"))],
    database: DatabaseOf,
    connector: ConnectorName | None = None,
) -> None:
    """Take back what a connector was handed with an IM: the notice could not be delivered.

    Partners not told yet are told with the next. What was noted stays in the audit trail. Without
    ``connector``, as front ends of before ask, whoever was handed it.
    """
    with database.transaction() as session:
        session.connection().execute(
            _RETRACT, {"im": im, "actor": actor.name, "role": actor.role, "connector": connector}
        )


@router.get("")
def list_disclaimers(
    search: Annotated[NoticeSearch, Query()], actor: Officer, database: DatabaseOf
) -> NoticePage:
    """List who was told that a conversation is archived: when, with which IM, in which words."""
    unknown = find_unknown(database, [search.partner] if search.partner else [], search, "partner")
    with database.transaction() as session:
        page = find_notices(session, search.keys, search.partner, search.after, search.limit)
        asked = search.model_dump(include={"conversation", "connector", "partner"}, exclude_none=True)
        detail = asked | {"count": len(page.disclaimers)}
        audit.record(session, actor, "archive.disclaimers", "disclaimers", detail=detail)
    page.unknown = unknown
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
        query = query.where(holds(col(NoticeRow.conversation), conversations))
    if partner is not None:
        query = query.where(holds(col(NoticeRow.partner), [partner]))
    rows = session.exec(query.order_by(col(NoticeRow.id).desc()).limit(limit + 1)).all()
    return NoticePage(
        disclaimers=[
            NoticeSent(**row.model_dump(exclude={"id"}), state="told" if row.told_at else "handed_over")
            for row in rows[:limit]
        ],
        next=rows[limit - 1].id if len(rows) > limit else None,
    )
