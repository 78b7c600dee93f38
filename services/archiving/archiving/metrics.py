"""A worker's metrics and health, and the server that shows them. No label holds an address or content."""

import contextlib
import socket
import threading
import time
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    Counter,
    Gauge,
    Histogram,
    Metric,
    generate_latest,
)
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

COMMITTED: Final = Counter("lcs_archiving_committed_ims", "IMs that were new when their batch was committed")
DUPLICATES: Final = Counter("lcs_archiving_duplicate_ims", "IMs that the archive had already")
PARKED: Final = Counter("lcs_archiving_parked_ims", "IMs that could not be stored and were parked")
LACKING_PARTITIONS: Final = Gauge(
    "lcs_archiving_lacking_partitions",
    "Months without a partition of their own, when this worker last looked: their IMs go to the default one",
)
BATCH_SIZE: Final = Histogram(
    "lcs_archiving_batch_size_ims", "IMs in a transaction", buckets=(1, 10, 100, 500, 1000, 2000, 5000, 10000)
)
COMMIT_SECONDS: Final = Histogram(
    "lcs_archiving_commit_seconds",
    "Duration of a batch's transaction",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30),
)
LAG_SECONDS: Final = Gauge(
    "lcs_archiving_lag_seconds", "Age, when it was committed, of the oldest IM of the last batch"
)
NEWEST_COMMITTED: Final = Gauge(
    "lcs_archiving_newest_committed_timestamp_seconds", "When the newest IM that is committed was accepted"
)
UNACKNOWLEDGED: Final = Gauge("lcs_archiving_unacknowledged_ims", "IMs taken and not yet acknowledged")
UNACKNOWLEDGED_OLDEST: Final = Gauge(
    "lcs_archiving_unacknowledged_oldest_timestamp_seconds",
    "When the message of these that was taken first was published; 0: there is none",
)
GUESSED: Final = Counter(
    "lcs_archiving_guessed_charsets",
    "Texts whose character set was guessed: its label is unknown, or there is none and it is not UTF-8",
    ["reason"],
)
ENCRYPTED: Final = Counter(
    "lcs_encrypted_ims", "IMs that their senders encrypted, so that nobody here can read them", ["kind"]
)
# Counted from zero: a graph of what never was has no line.
for _reason in ("unknown", "not UTF-8"):
    GUESSED.labels(_reason)
CDR_ACTIVITIES: Final = Counter("lcs_cdr_activities", "Activities stored as call detail records")
PERSON_ATTEMPTS: Final = Gauge(
    "lcs_cdr_person_attempts",
    "Attempts to talk past the archive in sessions of the last hour, of the ten people with the most",
    ["address"],
)
BROKER_CONNECTED: Final = Gauge("lcs_archiving_broker_connected", "1 while the worker consumes")
DATABASE_CONNECTED: Final = Gauge("lcs_archiving_database_connected", "1 while it has a session there")


class Latency(Collector):
    """A histogram of times that are observed thousands at once: a call for each IM would cost too much."""

    _BOUNDS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 60_000, 600_000, 3_600_000)
    """Milliseconds."""

    def __init__(self) -> None:
        self._counts = [0] * (len(self._BOUNDS) + 1)
        self._milliseconds = 0
        self.newest = 0
        """Time at which the newest observed IM was accepted."""

    def observe(self, accepted: Sequence[int], now: int) -> None:
        """Count IMs committed ``now`` by when they were ``accepted``: milliseconds since 1970, in order."""
        for place, bound in enumerate(self._BOUNDS):
            self._counts[place] += len(accepted) - bisect_left(accepted, now - bound)
        self._counts[-1] += len(accepted)
        self._milliseconds += now * len(accepted) - sum(accepted)
        self.newest = max(self.newest, accepted[-1])

    def collect(self) -> Iterable[Metric]:
        """See ``prometheus_client.registry.Collector``."""
        bounds = [*(str(bound / 1000) for bound in self._BOUNDS), "+Inf"]
        yield HistogramMetricFamily(
            "lcs_archiving_latency_seconds",
            "From the acceptance of an IM (the time in its id) to its commit",
            buckets=list(zip(bounds, self._counts, strict=True)),
            sum_value=self._milliseconds / 1000,
        )


_HEALTH_SECONDS: Final = 5.0
"""Seconds for each read and write of a connection."""
_MOST_CONNECTIONS: Final = 16
_PAUSE_SECONDS: Final = 0.1
_LATENCY: Final = Latency()
REGISTRY.register(_LATENCY)


def observe_batch(archived: int, inserted: int, started: float, accepted: Sequence[int]) -> None:
    """Count a batch just committed.

    ``started``: by the monotonic clock; ``accepted``: when each IM was, in milliseconds since 1970.
    """
    now = time.time_ns() // 1_000_000
    accepted = sorted(accepted)
    BATCH_SIZE.observe(archived)
    COMMITTED.inc(inserted)
    DUPLICATES.inc(archived - inserted)
    COMMIT_SECONDS.observe(time.monotonic() - started)
    LAG_SECONDS.set((now - accepted[0]) / 1000)
    _LATENCY.observe(accepted, now)
    NEWEST_COMMITTED.set(_LATENCY.newest / 1000)


class _HealthServer(ThreadingHTTPServer):
    """Serves few connections: without a bound, a visitor could hold open so many that the worker has none."""

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._open: OrderedDict[socket.socket, None] = OrderedDict()
        self._lock = threading.Lock()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Take a connection; raises OSError, after a pause, if no descriptor is left for it."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(_PAUSE_SECONDS)  # it stays in the backlog, so the server would try again without end
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own; if there are too many, the oldest makes room."""
        with self._lock:
            self._open[request] = None
            if len(self._open) > _MOST_CONNECTIONS:
                oldest, _ = self._open.popitem(last=False)
                with contextlib.suppress(OSError):  # it has ended
                    oldest.shutdown(socket.SHUT_RDWR)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a connection that breaks."""


def serve_health(host: str, port: int, ready: Callable[[], dict[str, bool]]) -> ThreadingHTTPServer:
    """Serve /healthz (alive), /readyz (200 if every part that ``ready`` names is) and /metrics.

    Returns the server; its ``server_port`` is the port. Raises OSError if the address can't be had.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = _HEALTH_SECONDS

        def do_GET(self) -> None:
            if self.path == "/healthz":
                self._answer(HTTPStatus.OK, "text/plain", b"alive\n")
            elif self.path == "/readyz":
                parts = ready()
                status = HTTPStatus.OK if all(parts.values()) else HTTPStatus.SERVICE_UNAVAILABLE
                lines = "".join(
                    f"{name}: {'ready' if good else 'not ready'}\n" for name, good in parts.items()
                )
                self._answer(status, "text/plain", lines.encode())
            elif self.path == "/metrics":
                self._answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest())
            else:
                self._answer(
                    HTTPStatus.NOT_FOUND, "text/plain", b"there are /healthz, /readyz and /metrics\n"
                )

        def _answer(self, status: HTTPStatus, content_type: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """A health check is no event."""

    server = _HealthServer((host, port), Handler)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server
