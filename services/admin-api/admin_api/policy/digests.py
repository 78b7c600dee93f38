"""The digest of the policy in the database, with which front ends' digests are compared now and then.

It finds differences without a version: a row changed by hand, a delta that left something out.
"""

import logging
import time
from threading import Lock
from typing import Annotated, Final, NamedTuple
from uuid import UUID

from fastapi import Depends, Request
from sqlalchemy import text

from admin_api.database import UNAVAILABLE, Database
from admin_api.policy.whole_policy import load_settings
from contract.policy_digest import digest_of

log = logging.getLogger("admin-api")

_EVERY_SECONDS: Final = 60.0
"""The database takes about a second for a million users."""
# As ``contract.policy_digest.sum_of``. Flags as in contract.policy.Flags: 1 internal, 2 federated.
_SUM: Final = """
SELECT coalesce(sum(('x' || left(encode(sha256(convert_to(
    address || ' ' || archive_internal::int + 2 * archive_federated::int, 'UTF8'
)), 'hex'), 16))::bit(64)::bigint::numeric), 0) FROM policy.users WHERE archive_internal OR archive_federated
"""


class _Digest(NamedTuple):
    version: int
    stamp: UUID | None
    digest: str
    until: float
    """When it is made again, by the monotonic clock."""


class Digests:
    """The digest as it was last made."""

    def __init__(self) -> None:
        self._last: _Digest | None = None
        self._making = Lock()

    def find(self, version: int, stamp: UUID | None) -> str | None:
        """Return the digest of a version; None if the last digest is of another version."""
        last = self._last
        return last.digest if last is not None and (last.version, last.stamp) == (version, stamp) else None

    def refresh(self, database: Database) -> None:
        """Make the digest again if it is older than a minute and no other thread does."""
        if self._last is not None and time.monotonic() < self._last.until:
            return
        if self._making.acquire(blocking=False):
            try:
                self._last = _make(database)
            except UNAVAILABLE as error:
                log.warning("the policy's digest could not be made", extra={"error": type(error).__name__})
            finally:
                self._making.release()


def _make(database: Database) -> _Digest:
    with database.snapshot() as session:
        settings = load_settings(session)
        total = int(session.connection().execute(text(_SUM)).scalar_one())
    until = time.monotonic() + _EVERY_SECONDS
    return _Digest(settings.version, settings.stamp, digest_of(settings, total), until)


def _digests_of(request: Request) -> Digests:
    digests: Digests = request.app.state.digests
    return digests


DigestsDep = Annotated[Digests, Depends(_digests_of)]
