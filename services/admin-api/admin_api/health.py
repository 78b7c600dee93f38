"""Whether the service is alive, whether it can serve, and what it counts."""

from typing import Literal

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from admin_api.completeness import show_counts
from admin_api.database import DatabaseOf
from admin_api.notices import NoticesOf

router = APIRouter(tags=["health"])


class Readiness(BaseModel):
    """Which parts answer. The database is needed; without the broker front ends learn of changes later."""

    database: Literal["ready", "away"]
    broker: Literal["ready", "away"]


@router.get("/healthz")
async def get_health() -> dict[str, str]:
    """Answer 200 while the process is alive."""
    return {"status": "alive"}


@router.get("/readyz", responses={503: {"model": Readiness}})
def get_readiness(database: DatabaseOf, notices: NoticesOf, response: Response) -> Readiness:
    """Answer 200 if requests can be served, else 503; either way with the state of the parts."""
    ready = database.is_ready()
    response.status_code = 200 if ready else 503
    return Readiness(database="ready" if ready else "away", broker="ready" if notices.connected else "away")


@router.get("/metrics", include_in_schema=False)
def get_metrics(database: DatabaseOf) -> Response:
    """Return the counters in Prometheus's format, and what the archive holds as it is counted now."""
    show_counts(database)
    return Response(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
