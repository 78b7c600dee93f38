"""The route by which front ends fetch policy."""

import asyncio
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Query, Response
from starlette.types import Receive, Scope, Send

from admin_api.http.fields import MAX_BIGINT
from admin_api.policy.rendering import SnapshotsDep
from runtime.listening import cut

router = APIRouter(prefix="/v1/policy", tags=["front ends"])
_CHUNK: Final = 64 << 10
_READ_SECONDS: Final = 150.0
"""Seconds for a whole answer: front ends give up after 120."""


class _Lines(Response):
    """Lines that are sent at the front end's pace, a chunk at a time."""

    media_type = "application/x-ndjson"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        try:
            async with asyncio.timeout(_READ_SECONDS):
                await send(head)
                for place in range(0, len(self.body), _CHUNK):
                    part = self.body[place : place + _CHUNK]
                    more = place + _CHUNK < len(self.body)
                    await send({"type": "http.response.body", "body": bytes(part), "more_body": more})
        except TimeoutError:
            await cut(scope)


@router.get(
    "/snapshot",
    response_class=_Lines,
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
async def get_snapshot(
    snapshots: SnapshotsDep,
    since: Annotated[int, Query(ge=0, le=MAX_BIGINT, description="The version known; 0: none")] = 0,
    stamp: Annotated[UUID | None, Query(description="Its stamp")] = None,
) -> Response:
    """Return the policy: a header, then a line for each user that changed after `since` (NDJSON).

    `since` in the header says which users follow: 0 means all users with flags; flags 0 take a user's flags
    back. All follow unless this database has been through that version with that stamp, and few changed
    since.
    """
    return _Lines(await snapshots.find(since, stamp))
