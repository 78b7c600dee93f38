"""Policy as front ends fetch it: all of it, or what changed since the version they have."""

from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Query, Security
from fastapi.responses import StreamingResponse
from sqlalchemy import false

from admin_api.database import Database, DatabaseOf
from admin_api.fields import MAX_BIGINT
from admin_api.policies import load_policy
from admin_api.principals import Allow
from contract.policy import PolicyHeader, PolicyUser

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
                    "example": '{"version":17,"since":0,"internal":"per_user","federated":"everyone",'
                    '"domains":["contoso.com"],"pools":[],"disclaimer":{}}\n["sip:yannis@contoso.com",1]\n',
                }
            }
        }
    },
)
def get_snapshot(
    database: DatabaseOf,
    since: Annotated[int, Query(ge=0, le=MAX_BIGINT, description="The version known; 0: none")] = 0,
) -> StreamingResponse:
    """Stream the policy: a header, then a line for each user that changed after `since` (NDJSON).

    The header's `since` says what follows: 0 means all users with flags; flags 0 take a user's flags back.
    """
    chunks = _encode(database, since)
    # The first is fetched before anything is answered, so that a database that is away is a 503.
    return StreamingResponse(chain([next(chunks)], chunks), media_type="application/x-ndjson")


def _encode(database: Database, since: int) -> Iterator[bytes]:
    encode_lines = msgspec.json.Encoder().encode_lines
    with database.snapshot() as session:
        policy = load_policy(session, false())
        if since > policy.version:  # a version we never had: the database is not the one it was
            since = 0
        yield encode_lines(
            [
                PolicyHeader(
                    version=policy.version,
                    since=since,
                    internal=policy.internal,
                    federated=policy.federated,
                    domains=sorted(policy.domains),
                    pools=list(policy.pools.values()),
                    disclaimer=policy.disclaimer,
                    cdr=policy.cdr,
                    connectors=list(policy.connectors.values()),
                )
            ]
        )
        connection = session.connection().connection.driver_connection
        assert connection is not None
        # The driver's own cursor: a third of the ORM's time, and only some of the rows here at a time.
        with connection.cursor("users") as users:
            users.execute(_USERS_SINCE if since else _USERS, [since] if since else None)
            while rows := users.fetchmany(_ROWS):
                yield encode_lines([PolicyUser(*row) for row in rows])
