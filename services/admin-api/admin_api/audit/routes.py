"""The audit trail: who changed policy, and who read what of the archive."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

from fastapi import APIRouter, Path, Query, Security
from psycopg.errors import QueryCanceled
from pydantic import BaseModel, Field
from sqlalchemy import BigInteger, ColumnElement, String, any_, false, not_, text, type_coerce
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, and_, cast, col, func, insert, or_, select, tuple_, union_all
from sqlmodel.sql.expression import SelectOfScalar

from admin_api.access.bulkheads import DatabaseOf
from admin_api.access.principals import Actor, Allow
from admin_api.database import Database
from admin_api.http.fields import MAX_BIGINT, KnownAddress, Limit, Text, Time
from admin_api.names.looks import IfAny
from admin_api.tables.policy import AuditRow, AuditUsersRow, holds
from contract.address import AddressError, parse_address
from contract.policy import Flags
from runtime.current_request import CURRENT
from runtime.problem import Problem

router = APIRouter(tags=["audit"])

POLICY_ACTIONS = "policy."
"""What the actions begin with that change policy; others are reads."""
READ: Final = "audit.read"
USER_READ: Final = "users.read"


def record(
    session: Session,
    actor: Actor,
    action: str,
    target: str,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    version: int | None = None,
    detail: dict[str, Any] | None = None,
    weakened: bool = False,
) -> int:
    """Write that somebody does something, and return the record's number.

    It counts once the session's transaction is committed.
    """
    request = CURRENT.get()
    values = {
        "actor": actor.name,
        "role": actor.role,
        "action": action,
        "target": target,
        "before": before,
        "after": after,
        "version": version,
        "detail": detail,
        "request": None if request is None else request.id,
        "client": None if request is None else request.client,
        "weakened": weakened,
    }
    number: int = session.execute(insert(AuditRow).values(values).returning(col(AuditRow.id))).scalar_one()
    return number


def asked(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the detail of a read: the parameters that were given."""
    return {"parameters": {name: value for name, value in parameters.items() if value is not None}}


@contextmanager
def attempt(
    database: Database, actor: Actor, action: str, target: str, detail: dict[str, Any], advice: str
) -> Iterator[None]:
    """Within it somebody reads: if the database takes too long, the trail has the attempt all the same.

    Raises Problem (503) that says so, with ``advice``: what to ask for instead.
    """
    try:
        yield
    except OperationalError as error:
        if not isinstance(error.orig, QueryCanceled):
            raise
        with database.transaction() as session:
            record(session, actor, action, target, detail=detail | {"failed": "it took too long"})
        raise Problem(503, f"It took too long, and nothing was read. {advice}") from None


Reader = Annotated[Actor, Security(Allow("compliance", "administrator"))]
Place = tuple[datetime, int]
"""Time and number of a record."""
Query_ = TypeVar("Query_", bound=SelectOfScalar[Any])


class Asked(BaseModel):
    """Which records: all that is given must be true of one."""

    from_: Time | None = Field(None, alias="from", description="Done then or later")
    to: Time | None = Field(None, description="Exclusive", examples=["2026-02-01T00:00:00Z"])
    actor: Text | None = Field(None, description="Who did it")
    action: Text | None = Field(None, examples=["policy.user.put", "archive.search"])
    target: Text | None = Field(
        None, description="With what, or with whom", examples=["sip:yannis@contoso.com"]
    )
    version: int | None = Field(None, ge=1, le=MAX_BIGINT, description="The version of policy that it made")
    weakened: bool | None = Field(
        None, description="`true`: so that less is archived, kept or told than before"
    )
    after: int | None = Field(None, ge=1, le=MAX_BIGINT, description="The `next` of the page before")
    limit: int = Field(100, ge=1, le=1000, description="How many at most")


class AuditRecord(BaseModel):
    """One thing that was done."""

    id: int
    at: datetime
    actor: str
    role: str
    action: str
    target: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    version: int | None
    detail: dict[str, Any] | None
    request: UUID | None = Field(description="`X-Request-ID` of its answer")
    client: str | None = Field(description="The address that the request came from")
    weakened: bool = Field(description="A change after which less is archived, kept or told")


class UserChange(BaseModel):
    """A user's flags before a bulk change, null if there were none, and after it."""

    address: str
    before: dict[str, bool] | None
    after: dict[str, bool] | None


class UserChangePage(BaseModel):
    """Whom a bulk change changed, by address; ``next`` is the ``after`` of the page that follows."""

    changes: list[UserChange]
    next: str | None
    unknown: IfAny[list[str]] = Field(None, description="The `user`, if it is none of those it changed")


class AuditPage(BaseModel):
    """Some records, newest first; ``next`` is the ``after`` of the page that follows, null on the last."""

    records: list[AuditRecord]
    next: int | None
    unknown: IfAny[list[str]] = Field(
        None,
        description="If nothing is found: of `actor`, `action`, `target` and `version` those that no record"
        " has that you may see",
    )


@router.get("/v1/audit")
def list_audit(actor: Reader, database: DatabaseOf, wanted: Annotated[Asked, Query()]) -> AuditPage:
    """List what was done, newest first. An administrator sees the changes of policy only.

    A `target` is found in bulk changes of users too: `GET /v1/audit/{id}/changes` says how it was changed.
    Each look is written to the audit trail.
    """
    policy_only = actor.role == "administrator"
    with database.transaction() as session:
        below = _place_of(session, wanted, policy_only=policy_only)
        rows = session.exec(query_of(wanted, policy_only=policy_only, below=below)).all()
        unknown = [] if rows else _find_unknown(session, wanted, policy_only=policy_only)
        records = [AuditRecord.model_validate(row, from_attributes=True) for row in rows[: wanted.limit]]
        parameters = wanted.model_dump(mode="json", by_alias=True, exclude_none=True)
        record(session, actor, READ, "audit", detail={"parameters": parameters, "count": len(records)})
    following = records[-1].id if len(rows) > wanted.limit else None
    return AuditPage(records=records, next=following, unknown=unknown)


def _find_unknown(session: Session, wanted: Asked, *, policy_only: bool) -> list[str]:
    """Return what is asked for and no record has, whatever else is asked for."""
    return [
        str(value)
        for name in ("actor", "action", "target", "version")
        if (value := getattr(wanted, name)) is not None
        and not session.exec(query_of(Asked(**{name: value, "limit": 1}), policy_only=policy_only)).all()
    ]


def _place_of(session: Session, wanted: Asked, *, policy_only: bool) -> Place | None:
    """Return where a page goes on. Raises Problem (422) if the page before has no such end."""
    if wanted.after is None:
        return None
    at = session.exec(select(AuditRow.at).where(AuditRow.id == wanted.after)).one_or_none()
    if at is not None:
        alone = wanted.model_copy(update={"limit": 0})
        found = session.exec(query_of(alone, policy_only=policy_only, below=(at, wanted.after + 1))).first()
        if found is not None and found.id == wanted.after:
            return at, wanted.after
    raise Problem(
        422,
        "No record of those asked for has this number: send the `next` of the page before, and ask the same.",
        field="after",
    )


def query_of(wanted: Asked, *, policy_only: bool, below: Place | None = None) -> SelectOfScalar[AuditRow]:
    """Return the query for a page of records, newest first, and for one more; it begins below a place."""
    at, number = col(AuditRow.at), col(AuditRow.id)

    def narrowed(query: Query_) -> Query_:
        if policy_only:
            query = query.where(col(AuditRow.action).startswith(POLICY_ACTIONS))
            if wanted.action is not None and not wanted.action.startswith(POLICY_ACTIONS):
                query = query.where(false())  # else all reads of that kind are looked through
        if wanted.weakened is not None:
            weakened = col(AuditRow.weakened)
            query = query.where(weakened if wanted.weakened else not_(weakened))
        for name in ("actor", "action", "version"):
            if (value := getattr(wanted, name)) is not None:
                query = query.where(col(getattr(AuditRow, name)) == value)
        if wanted.from_ is not None:
            query = query.where(at >= wanted.from_)
        if wanted.to is not None:
            query = query.where(at < wanted.to)
        if below is not None:
            query = query.where(tuple_(at, number) < tuple_(*below))
        return query.order_by(at.desc(), number.desc()).limit(wanted.limit + 1)

    if wanted.target is None:
        return narrowed(select(AuditRow))
    names = _names_of(wanted.target)
    alone = narrowed(select(AuditRow.id).where(holds(col(AuditRow.target), names)))
    parts = func.array(select(AuditUsersRow.audit_id).where(_names_one_of(names)).scalar_subquery())
    in_bulk = narrowed(select(AuditRow.id).where(number == any_(type_coerce(parts, ARRAY(BigInteger)))))
    found = union_all(alone.subquery().select(), in_bulk.subquery().select())
    newest = select(AuditRow).where(number.in_(found)).order_by(at.desc(), number.desc())
    return newest.limit(wanted.limit + 1)


def _names_of(target: str) -> list[str]:
    """Return a target as it is asked for, and as the address that it may be a spelling of."""
    try:
        return list({target, parse_address(target)})
    except AddressError:
        return [target]


def _names_one_of(names: Sequence[str]) -> ColumnElement[bool]:
    """Return the condition that a part of a bulk change names one of some addresses, by its index."""
    addresses = col(AuditUsersRow.addresses)
    hashes = func.policy.hashes_of
    return or_(
        *(
            and_(hashes(addresses).op("@>")(hashes(cast([name], ARRAY(String)))), name == any_(addresses))
            for name in names
        )
    )


@router.get("/v1/audit/{id}/changes")
def list_audit_changes(
    number: Annotated[int, Path(ge=1, le=MAX_BIGINT, alias="id", examples=[7])],
    actor: Reader,
    database: DatabaseOf,
    user: Annotated[KnownAddress | None, Query(examples=["sip:yannis@contoso.com"])] = None,
    after: Annotated[Text | None, Query(description="The `next` of the page before")] = None,
    limit: Limit = 100,
) -> UserChangePage:
    """Unfold a bulk change of users (`policy.users.patch`): whom it changed and how, by address."""
    with database.transaction() as session:
        found = session.get(AuditRow, number)
        if found is None or (actor.role == "administrator" and not found.action.startswith(POLICY_ACTIONS)):
            raise Problem(404, "There is no such record.", field="id")
        values = {"id": number, "user": user, "after": after, "limit": limit + 1}
        rows = session.connection().execute(_CHANGES, values).all()
        if (
            not rows
            and session.exec(select(AuditUsersRow.part).where(AuditUsersRow.audit_id == number)).first()
            is None
        ):
            raise Problem(
                404, "This record stands for one change: its before and after say which.", field="id"
            )
        if after is not None:
            known = col(AuditUsersRow.audit_id) == number, after == any_(col(AuditUsersRow.addresses))
            if session.exec(select(AuditUsersRow.part).where(*known)).first() is None:
                raise Problem(422, "This is no `next` of this record: it has no such name.", field="after")
        detail = asked({"user": user, "after": after, "limit": limit}) | {"count": len(rows[:limit])}
        record(session, actor, READ, str(number), detail=detail)
    changes = [
        UserChange(address=row.address, before=_flags_in(row.before), after=_flags_in(row.after))
        for row in rows[:limit]
    ]
    following = changes[-1].address if len(rows) > limit else None
    unknown = [user] if user is not None and after is None and not rows else []
    return UserChangePage(changes=changes, next=following, unknown=unknown)


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


def _flags_in(flags: int | None) -> dict[str, bool] | None:
    if flags is None:
        return None
    return {
        "archive_internal": bool(flags & Flags.INTERNAL),
        "archive_federated": bool(flags & Flags.FEDERATED),
    }
