"""Optimistic concurrency: ETag, If-Match and If-None-Match (RFC 9110, 13.1).

The ETag of a resource is the version of policy that changed it last, number and stamp: ``"17-0b5c…"``. The
number alone would come again after the database is restored.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Header
from sqlmodel import Session

from admin_api.tables.policy import StampRow
from runtime.problem import Problem

_TAG: Final = r'(W/)?"[!#-~]*"'
_TAGS: Final = rf"^(\*|{_TAG}([ \t]*,[ \t]*{_TAG})*)$"
_SCHEMA: Final[dict[str, Any]] = {"pattern": _TAGS}


def etag_of(version: int, stamp: UUID) -> str:
    """Return the ETag of a version of policy."""
    return f'"{version}-{stamp.hex}"'


def find_etag(session: Session, version: int) -> str:
    """Return the ETag of a resource by the version of policy that changed it last."""
    row = session.get(StampRow, version)
    # Only a hand puts a version there that never was.
    return f'"{version}"' if row is None else etag_of(row.version, row.stamp)


@dataclass(frozen=True)
class Preconditions:
    """The conditions under which a caller wants a resource changed."""

    if_match: str | None = None
    if_none_match: str | None = None

    def check(self, etag: str | None) -> None:
        """Check a resource by its ETag, None if there is no such resource. Raises Problem (412)."""
        if self.if_match is not None and not _matches(self.if_match, etag, strong=True):
            raise Problem(
                412,
                "There is no such resource (any more)."
                if etag is None
                else f"It was changed meanwhile: its ETag is {etag}. Read it again.",
                field="If-Match",
                headers=None if etag is None else {"ETag": etag},
            )
        if self.if_none_match is not None and _matches(self.if_none_match, etag, strong=False):
            raise Problem(412, "It exists already.", field="If-None-Match")


def _matches(condition: str, etag: str | None, *, strong: bool) -> bool:
    if etag is None:
        return False
    if condition.strip() == "*":
        return True
    tags = [tag.strip() for tag in condition.split(",")]
    # A weak tag (W/…) never matches strongly (RFC 9110, 8.8.3.2).
    return etag in (tags if strong else [tag.removeprefix("W/") for tag in tags])


def read_preconditions(
    if_match: Annotated[
        str | None,
        Header(
            description="Change only if the ETag, as it was given, is this; else 412",
            json_schema_extra=_SCHEMA,
        ),
    ] = None,
    if_none_match: Annotated[
        str | None, Header(description="`*`: only create; 412 if it exists", json_schema_extra=_SCHEMA)
    ] = None,
) -> Preconditions:
    """Read a request's preconditions. Raises Problem (422) if they are no ETags."""
    for name, value in (("If-Match", if_match), ("If-None-Match", if_none_match)):
        if value is not None and not re.search(_TAGS, value.strip()):
            raise Problem(422, 'Write an ETag in double quotes, as "17", or *.', field=name)
    return Preconditions(if_match, if_none_match)
