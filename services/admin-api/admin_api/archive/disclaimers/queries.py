"""Queries for notices."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Final
from uuid import UUID

from pydantic import Field
from sqlmodel import Session, col, select, text

from admin_api.access.principals import Actor
from admin_api.archive.disclaimers.answers import (
    Claim,
    Confirmation,
    NoticePage,
    NoticeSent,
    Standing,
)
from admin_api.http.fields import (
    MAX_BIGINT,
    KnownAddress,
)
from admin_api.names.conversations import ConversationFilter
from admin_api.tables.policy import NoticeRow, holds
from contract.conversation import filed_key

_CONFIRM_WITHIN: Final = timedelta(hours=1)
"""A notice that is not confirmed within this time is handed over again, however often it was before."""
_CLAIM: Final = text(
    "SELECT partner, to_tell, told FROM policy.claim_disclaimers(:conversation, :im, :connector, :front_end,"
    " :at, :version, :partners, :languages, :wordings, :confirm_within, :digest, :handed_over)"
)
_CONFIRM: Final = text("SELECT policy.confirm_disclaimers(:im, :connector, :at)")
_RETRACT: Final = text("SELECT policy.retract_disclaimers(:im, :actor, :role, :connector)")


class NoticeSearch(ConversationFilter):
    """A search for notices by partner and conversation."""

    partner: KnownAddress | None = Field(None, examples=["sip:bob@fabrikam.com"])
    after: Annotated[int, Field(ge=1, le=MAX_BIGINT, description="The `next` of the page before")] = (
        MAX_BIGINT
    )
    limit: int = Field(100, ge=1, le=1000, description="How many at most")


def find_notices(
    session: Session,
    conversations: Sequence[str],
    partner: str | None = None,
    after: int = MAX_BIGINT,
    limit: int = 1000,
) -> NoticePage:
    """Return notices, newest first. ``conversations``: their keys; none: of all conversations.

    The caller writes the audit record.
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


def claim_notices(session: Session, claim: Claim, digest: bytes | None, *, handed_over: bool) -> Standing:
    """Note the notices of a claim, and return which partners are to be told with its IM."""
    notices = claim.notices
    found = session.connection().execute(
        _CLAIM,
        claim.model_dump(exclude={"notices"})
        | {
            "conversation": filed_key(claim.conversation),
            "partners": [each.partner for each in notices],
            "languages": [each.language for each in notices],
            "wordings": [each.wording for each in notices],
            "confirm_within": _CONFIRM_WITHIN,
            "digest": digest,
            "handed_over": handed_over,
        },
    )
    rows = found.all()
    return Standing(
        partners=[row.partner for row in rows if row.to_tell], told=[row.partner for row in rows if row.told]
    )


def confirm_notices(session: Session, im: UUID, confirmation: Confirmation) -> int:
    """Note that a connector delivered the notices of an IM; return how many it was handed."""
    values = {"im": im} | confirmation.model_dump()
    count: int = session.connection().execute(_CONFIRM, values).scalar_one()
    return count


def retract_notices(session: Session, im: UUID, actor: Actor, connector: str | None) -> None:
    """Take back the notices of an IM; ``connector``: of this one only."""
    values = {"im": im, "actor": actor.name, "role": actor.role, "connector": connector}
    session.connection().execute(_RETRACT, values)
