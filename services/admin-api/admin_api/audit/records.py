"""Audit records: each change of policy and each read of the archive writes one."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from psycopg.errors import QueryCanceled
from pydantic import BaseModel
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, col, insert

from admin_api.access.principals import Actor
from admin_api.database import Database
from admin_api.tables.policy import AuditRow
from runtime.current_request import CURRENT
from runtime.problem import Problem

POLICY_ACTIONS = "policy."
"""The beginning of the actions that change policy; others are reads."""
READ: Final = "audit.read"
USER_READ: Final = "users.read"
NARROW: Final = "Narrow it by user, conversation, from or to."
"""Advice for a search that takes too long: see ``attempt``."""


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
    """Write a record of an action, and return its number.

    The record counts once the session's transaction is committed.
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


def asked(parameters: Mapping[str, Any] | BaseModel) -> dict[str, Any]:
    """Return the detail of a read: the parameters that were given, by their names in the API."""
    if isinstance(parameters, BaseModel):
        return {"parameters": parameters.model_dump(mode="json", by_alias=True, exclude_none=True)}
    return {"parameters": {name: value for name, value in parameters.items() if value is not None}}


@contextmanager
def attempt(
    database: Database, actor: Actor, action: str, target: str, detail: dict[str, Any], advice: str
) -> Iterator[None]:
    """Write a record of a read if the database takes too long for it.

    Raises Problem (503) then, with ``advice``: the narrower request to make instead.
    """
    try:
        yield
    except OperationalError as error:
        if not isinstance(error.orig, QueryCanceled):
            raise
        with database.transaction() as session:
            record(session, actor, action, target, detail=detail | {"failed": "it took too long"})
        raise Problem(503, f"It took too long, and nothing was read. {advice}") from None
