"""Flags of hundreds of thousands of users in one change, from NDJSON or CSV: all of it or nothing."""

import hashlib
from tempfile import SpooledTemporaryFile
from typing import IO

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

from admin_api.policy.bulk_lines import IN_MEMORY, Reader, reader_of, write_rows
from admin_api.policy.bulk_queries import store, unfold
from admin_api.policy.changes import Changes
from admin_api.policy.resources import ChangesDep

router = APIRouter(prefix="/v1/policy/users", tags=["users"])


class BulkAnswer(BaseModel):
    """The result of a bulk change: ``changed`` counts users."""

    version: int
    lines: int
    changed: int


@router.patch(
    "",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/x-ndjson": {
                    "schema": {"type": "string"},
                    "example": '{"address":"sip:yannis@contoso.com","archive_internal":true}\n',
                },
                "text/csv": {
                    "schema": {"type": "string"},
                    "example": "address,archive_internal,archive_federated\nyannis@contoso.com,true,false\n",
                },
            },
        }
    },
)
async def patch_users(request: Request, changes: ChangesDep) -> BulkAnswer:
    """Set the flags of many users in one change, one user a line: all of them or, if a line is wrong, none.

    A flag that a line leaves out (an empty cell) stays as it is. `If-Match` is about the whole policy. The
    audit trail has one record of the change (`policy.users.patch`), found by each user that it changed too;
    `GET /v1/audit/{id}/changes` lists them.
    """
    read = reader_of(request)
    digest = hashlib.sha256()
    with SpooledTemporaryFile(IN_MEMORY) as body:
        async for chunk in request.stream():
            digest.update(chunk)
            await run_in_threadpool(body.write, chunk)
        body.seek(0)
        return await run_in_threadpool(_apply, body, read, digest.hexdigest(), changes)


def _apply(body: IO[bytes], read: Reader, digest: str, changes: Changes) -> BulkAnswer:
    with SpooledTemporaryFile(IN_MEMORY) as rows:
        lines = write_rows(read(body), rows)
        rows.seek(0)
        with changes.begin() as change:
            change.check(change.version)
            changed, weakenings = store(rows, change)
            detail = {"lines": lines, "changed": changed, "sha256": digest}
            if changed:
                number = change.record("patch", "users", "users", detail=detail, weakenings=weakenings)
                unfold(change, number)
            else:
                change.looked_at = "users", detail | {"tried": "policy.users.patch"}
            return BulkAnswer(version=change.version, lines=lines, changed=changed)
