"""Queries for audit records."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

from pydantic import BaseModel, Field
from sqlalchemy import BigInteger, ColumnElement, String, any_, false, not_, text, type_coerce
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Session, and_, cast, col, func, or_, select, tuple_, union_all
from sqlmodel.sql.expression import SelectOfScalar

from admin_api.audit.answers import AuditPage, AuditRecord, UserChange, UserChangePage
from admin_api.audit.records import POLICY_ACTIONS
from admin_api.http.fields import MAX_BIGINT, Text, Time
from admin_api.tables.policy import AuditRow, AuditUsersRow, holds
from contract.address import AddressError, parse_address
from contract.policy import Flags
from runtime.problem import Problem

_CHANGES: Final = text("""
SELECT c.address, c.before, c.after
FROM policy.audit_users AS u, unnest(u.addresses, u.before, u.after) AS c (address, before, after)
WHERE u.audit_id = :id
AND (CAST(:after AS text) IS NULL OR (
    u.addresses[cardinality(u.addresses)] > CAST(:after AS text) AND c.address > CAST(:after AS text)
))
AND (CAST(:user AS text) IS NULL OR (
    CAST(:user AS text) = ANY(u.addresses) AND c.address = CAST(:user AS text)
))
ORDER BY u.part, c.address LIMIT :limit
""")
Place = tuple[datetime, int]
"""Time and number of a record."""
_Query = TypeVar("_Query", bound=SelectOfScalar[Any])


class AuditSearch(BaseModel):
    """A search: a record is found if it meets all conditions."""

    from_: Time | None = Field(None, alias="from", description="Done then or later")
    to: Time | None = Field(None, description="Exclusive", examples=["2026-02-01T00:00:00Z"])
    actor: Text | None = Field(None, description="The actor's name")
    action: Text | None = Field(None, examples=["policy.user.put", "archive.search"])
    target: Text | None = Field(
        None, description="The thing or the person of the action", examples=["sip:yannis@contoso.com"]
    )
    version: int | None = Field(None, ge=1, le=MAX_BIGINT, description="The version of policy that it made")
    weakened: bool | None = Field(
        None, description="`true`: so that less is archived, kept or told than before"
    )
    after: int | None = Field(None, ge=1, le=MAX_BIGINT, description="The `next` of the page before")
    limit: int = Field(100, ge=1, le=1000, description="How many at most")


def find_records(session: Session, search: AuditSearch, *, policy_only: bool) -> AuditPage:
    """Return a page of records, newest first. Raises Problem (422) if ``after`` is no record of these."""
    below = _place_of(session, search, policy_only=policy_only)
    rows = session.exec(query_of(search, policy_only=policy_only, below=below)).all()
    records = [AuditRecord.model_validate(row, from_attributes=True) for row in rows[: search.limit]]
    return AuditPage(
        records=records,
        next=records[-1].id if len(rows) > search.limit else None,
        unknown=[] if rows else _find_unknown(session, search, policy_only=policy_only),
    )


def _find_unknown(session: Session, search: AuditSearch, *, policy_only: bool) -> list[str]:
    """Return the conditions that no record meets, each taken alone."""
    return [
        str(value)
        for name in ("actor", "action", "target", "version")
        if (value := getattr(search, name)) is not None
        and not session.exec(
            query_of(AuditSearch(**{name: value, "limit": 1}), policy_only=policy_only)
        ).all()
    ]


def _place_of(session: Session, search: AuditSearch, *, policy_only: bool) -> Place | None:
    """Return the place after which a page begins. Raises Problem (422) if no record found is there."""
    if search.after is None:
        return None
    at = session.exec(select(AuditRow.at).where(AuditRow.id == search.after)).one_or_none()
    if at is not None:
        alone = search.model_copy(update={"limit": 0})
        found = session.exec(query_of(alone, policy_only=policy_only, below=(at, search.after + 1))).first()
        if found is not None and found.id == search.after:
            return at, search.after
    raise Problem(
        422,
        "No record of those asked for has this number: send the `next` of the page before, and ask the same.",
        field="after",
    )


def query_of(
    search: AuditSearch, *, policy_only: bool, below: Place | None = None
) -> SelectOfScalar[AuditRow]:
    """Return the query for a page of records below a place, newest first, and for one record more."""
    at, number = col(AuditRow.at), col(AuditRow.id)

    def narrowed(query: _Query) -> _Query:
        if policy_only:
            query = query.where(col(AuditRow.action).startswith(POLICY_ACTIONS))
            if search.action is not None and not search.action.startswith(POLICY_ACTIONS):
                query = query.where(false())  # else all reads of that kind are looked through
        if search.weakened is not None:
            weakened = col(AuditRow.weakened)
            query = query.where(weakened if search.weakened else not_(weakened))
        for name in ("actor", "action", "version"):
            if (value := getattr(search, name)) is not None:
                query = query.where(col(getattr(AuditRow, name)) == value)
        if search.from_ is not None:
            query = query.where(at >= search.from_)
        if search.to is not None:
            query = query.where(at < search.to)
        if below is not None:
            query = query.where(tuple_(at, number) < tuple_(*below))
        return query.order_by(at.desc(), number.desc()).limit(search.limit + 1)

    if search.target is None:
        return narrowed(select(AuditRow))
    names = _names_of(search.target)
    alone = narrowed(select(AuditRow.id).where(holds(col(AuditRow.target), names)))
    parts = func.array(select(AuditUsersRow.audit_id).where(_names_one_of(names)).scalar_subquery())
    in_bulk = narrowed(select(AuditRow.id).where(number == any_(type_coerce(parts, ARRAY(BigInteger)))))
    found = union_all(alone.subquery().select(), in_bulk.subquery().select())
    newest = select(AuditRow).where(number.in_(found)).order_by(at.desc(), number.desc())
    return newest.limit(search.limit + 1)


def _names_of(target: str) -> list[str]:
    """Return a target as it was given, and the canonical address that it may spell."""
    try:
        return list({target, parse_address(target)})
    except AddressError:
        return [target]


def _names_one_of(names: Sequence[str]) -> ColumnElement[bool]:
    """Return the condition, for an index, that a part of a bulk change names one of some addresses."""
    addresses = col(AuditUsersRow.addresses)
    hashes = func.policy.hashes_of
    return or_(
        *(
            and_(hashes(addresses).op("@>")(hashes(cast([name], ARRAY(String)))), name == any_(addresses))
            for name in names
        )
    )


def find_changes(
    session: Session,
    number: int,
    *,
    user: str | None,
    after: str | None,
    limit: int,
    policy_only: bool,
) -> UserChangePage:
    """Return users that the bulk change of a record changed, by address; ``user``: only this one.

    Raises Problem: 404 if the record is none of a bulk change, 422 if ``after`` is none of its addresses.
    """
    found = session.get(AuditRow, number)
    if found is None or (policy_only and not found.action.startswith(POLICY_ACTIONS)):
        raise Problem(404, "There is no such record.", field="id")
    values = {"id": number, "user": user, "after": after, "limit": limit + 1}
    rows = session.connection().execute(_CHANGES, values).all()
    of_record = select(AuditUsersRow.part).where(AuditUsersRow.audit_id == number)
    if not rows and session.exec(of_record).first() is None:
        raise Problem(404, "This record stands for one change: its before and after say which.", field="id")
    if after is not None:
        known = of_record.where(after == any_(col(AuditUsersRow.addresses)))
        if session.exec(known).first() is None:
            raise Problem(422, "This is no `next` of this record: it has no such name.", field="after")
    changes = [
        UserChange(address=row.address, before=_flags_in(row.before), after=_flags_in(row.after))
        for row in rows[:limit]
    ]
    return UserChangePage(
        changes=changes,
        next=changes[-1].address if len(rows) > limit else None,
        unknown=[user] if user is not None and after is None and not rows else [],
    )


def _flags_in(flags: int | None) -> dict[str, bool] | None:
    if flags is None:
        return None
    return {
        "archive_internal": bool(flags & Flags.INTERNAL),
        "archive_federated": bool(flags & Flags.FEDERATED),
    }
