"""Health: liveness, readiness and metrics.

Requests need no token, so none may cost a session: requests that come together share one look at the
database.
"""

import asyncio
import logging
import time
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from admin_api import metrics
from admin_api.archive.completeness.samples import show_counts
from admin_api.database import Database
from admin_api.http.feature import Feature
from admin_api.policy.announcements import AnnouncementsDep

log = logging.getLogger("admin-api")

router = APIRouter(tags=["health"])

_SAMPLE_SECONDS: Final = 5.0


class Readiness(BaseModel):
    """The parts' states. The database is needed; without the broker front ends learn of changes later."""

    database: Literal["ready", "away"]
    broker: Literal["ready", "away"]


class Looks:
    """Looks at the database, through one session for readiness and one for metrics."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._look: asyncio.Task[bool] | None = None

    async def is_ready(self) -> bool:
        """Return whether the database answers."""
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(asyncio.to_thread(self._database.is_ready))
        return await asyncio.shield(self._look)

    async def run(self) -> None:
        """Sample the figures of the database every few seconds, until cancelled."""
        sampled = time.monotonic()
        metrics.SAMPLE_AGE.set_function(lambda: time.monotonic() - sampled)
        while True:
            try:
                if await asyncio.to_thread(show_counts, self._database):
                    sampled = time.monotonic()
            except SQLAlchemyError as error:
                log.warning("the archive could not be sampled", extra={"error": type(error).__name__})
            await asyncio.sleep(_SAMPLE_SECONDS)


def _looks_of(request: Request) -> Looks:
    looks: Looks = request.app.state.looks
    return looks


@router.get("/healthz")
async def get_health() -> dict[str, str]:
    """Answer 200 while the process is alive."""
    return {"status": "alive"}


@router.get("/readyz", responses={503: {"model": Readiness}})
async def get_readiness(
    looks: Annotated[Looks, Depends(_looks_of)], announcements: AnnouncementsDep, response: Response
) -> Readiness:
    """Answer 200 if requests can be served, else 503; either way with the state of the parts."""
    ready = await looks.is_ready()
    response.status_code = 200 if ready else 503
    return Readiness(
        database="ready" if ready else "away", broker="ready" if announcements.connected else "away"
    )


@router.get("/metrics", include_in_schema=False)
async def get_metrics() -> Response:
    """Return the metrics in Prometheus's format, with the figures of the database as last sampled."""
    return Response(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


feature = Feature(
    tags={"health": "Whether the service is alive, and able to serve"},
    routers=(router,),
    make_parts=lambda _, database: {"looks": Looks(database)},
    is_open=True,
)
