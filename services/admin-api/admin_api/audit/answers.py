"""Audit records as the API answers them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from admin_api.http.fields import IfAny


class AuditRecord(BaseModel):
    """An action that the trail has."""

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
    """A user's flags before a bulk change (null if there were none) and after it."""

    address: str
    before: dict[str, bool] | None
    after: dict[str, bool] | None


class UserChangePage(BaseModel):
    """Users that a bulk change changed, by address; ``next`` is the ``after`` of the page that follows."""

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
