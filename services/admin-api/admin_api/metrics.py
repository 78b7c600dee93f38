"""Metrics of the service. Routes are named by their template, so no address gets into a label."""

import time
from typing import Final

from prometheus_client import Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUESTS: Final = Counter("lcs_admin_requests", "Requests answered", ("method", "route", "status"))
REQUEST_SECONDS: Final = Histogram(
    "lcs_admin_request_seconds",
    "Duration of a request, to the last byte of its answer",
    ("method", "route"),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
POLICY_VERSION: Final = Gauge("lcs_admin_policy_version", "Version of policy, as last seen here")
POLICY_WEAKENED: Final = Gauge(
    "lcs_policy_weakened",
    "1 for each change of the last hour after which less is archived, kept, told or refused: the newest 20",
    ["version"],
)
"""Set from the audit trail: a counter would not outlive a process that ends just after a change.

Each change has its own series: one that is announced hides none that follows it.
"""
POLICY_DIFFERENCES: Final = Counter(
    "lcs_admin_policy_differences", "Times that a front end held another policy than its version's"
)
ANNOUNCEMENTS: Final = Counter("lcs_admin_notices", "Notices of a new version that the broker took")
BROKER_CONNECTED: Final = Gauge("lcs_admin_broker_connected", "1 while notices can be sent")
DATABASE_CONNECTED: Final = Gauge("lcs_admin_database_connected", "1 while the database answers")
COMPLETENESS: Final = {
    name: Gauge(f"lcs_completeness_{name}_ims", help_, ["pool"])
    for name, help_ in (
        ("accepted", "IMs that agents numbered, as far as the archive knows"),
        ("archived", "IMs of these that are archived"),
        ("parked", "IMs of these that are parked"),
        ("missing", "IMs of these that are neither, though what came later is: lost, or in a worker's hands"),
        ("waiting", "IMs of these that front ends tell of and that may still be on the queue"),
    )
}
PARKED: Final = {
    "im": Gauge("lcs_parked_ims", "IMs that are parked now: somebody should look at them"),
    "cdr": Gauge(
        "lcs_cdr_parked_lines",
        "Lines of call detail records that are parked now: somebody should look at them",
    ),
}
"""By kind. Counted in the archive, so no worker needs to run."""
SAMPLE_AGE: Final = Gauge(
    "lcs_admin_sample_age_seconds", "Since what the archive holds was counted, or this began"
)
ARCHIVE_SIZE: Final = Gauge("lcs_archive_size_bytes", "Size of the database")


class CountRequests:
    """ASGI middleware that counts each request, and its time, by route."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if route != "none" else "any"  # callers choose what stands there
            REQUESTS.labels(method, route, status).inc()
            REQUEST_SECONDS.labels(method, route).observe(time.perf_counter() - started)
