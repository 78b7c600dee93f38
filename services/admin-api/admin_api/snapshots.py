"""Policy as front ends fetch it: all of it, or what changed since the version they have."""

from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Final
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query, Security
from fastapi.responses import StreamingResponse
from sqlalchemy import false
from sqlmodel import Session

from admin_api.database import Database, DatabaseOf
from admin_api.fields import MAX_BIGINT
from admin_api.policies import load_policy
from admin_api.principals import Allow
from admin_api.tables import StampRow
from contract.policy import PolicyUser, header_of

router = APIRouter(prefix="/v1/policy", tags=["front ends"])

_ROWS: Final = 5000
# Flags as in contract.policy.Flags: 1 internal, 2 federated.
_USERS: Final = """
SELECT address, archive_internal::int + 2 * archive_federated::int FROM policy.users
WHERE archive_internal OR archive_federated
"""
_USERS_SINCE: Final = """
SELECT address, archive_internal::int + 2 * archive_federated::int FROM policy.users
WHERE version > %s
"""


@router.get(
    "/snapshot",
    dependencies=[Security(Allow("frontend"))],
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {
                "application/x-ndjson": {
                    "schema": {"type": "string"},
                    "example": '{"version":17,"stamp":"0b5cb1a9-2c1e-4f6b-9f5e-1d3c4b5a6978",'
                    '"since":0,"internal":"per_user","federated":"everyone",'
                    '"domains":["contoso.com"],"pools":[],"disclaimer":{}}\n["sip:yannis@contoso.com",1]\n',
                }
            }
        }
    },
)
def get_snapshot(
    database: DatabaseOf,
    since: Annotated[int, Query(ge=0, le=MAX_BIGINT, description="The version known; 0: none")] = 0,
    stamp: Annotated[UUID | None, Query(description="Its stamp")] = None,
) -> StreamingResponse:
    """Stream the policy: a header, then a line for each user that changed after `since` (NDJSON).

    The header's `since` says what follows: 0 means all users with flags; flags 0 take a user's flags back.
    All follow unless this database has been through that version with that stamp.
    """
    chunks = _encode(database, since, stamp)
    # The first is fetched before anything is answered, so that a database that is away is a 503.
    return StreamingResponse(chain([next(chunks)], chunks), media_type="application/x-ndjson")


def _encode(database: Database, since: int, stamp: UUID | None) -> Iterator[bytes]:
    encode_lines = msgspec.json.Encoder().encode_lines
    with database.snapshot() as session:
        policy = load_policy(session, false())
        if not _was(session, since, stamp):
            since = 0
        yield encode_lines([header_of(policy, since)])
        connection = session.connection().connection.driver_connection
        assert connection is not None
        # The driver's own cursor: a third of the ORM's time, and only some of the rows here at a time.
        with connection.cursor("users") as users:
            users.execute(_USERS_SINCE if since else _USERS, [since] if since else None)
            while rows := users.fetchmany(_ROWS):
                yield encode_lines([PolicyUser(*row) for row in rows])


def _was(session: Session, version: int, stamp: UUID | None) -> bool:
    """Return whether the database has been through a version: not another one of that number."""
    row = session.get(StampRow, version)
    return row is not None and row.stamp == stamp
