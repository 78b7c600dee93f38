"""What the worker counts, and where it can be read."""

import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

COMMITTED: Final = Counter("lcs_archiving_committed_ims", "IMs that were new when their batch was committed")
DUPLICATES: Final = Counter("lcs_archiving_duplicate_ims", "IMs that the archive had already")
PARKED: Final = Counter("lcs_archiving_parked_ims", "IMs that could not be stored and wait in lcslog.parked")
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


def serve_health(host: str, port: int, ready: Callable[[], dict[str, bool]]) -> ThreadingHTTPServer:
    """Serve /healthz (alive), /readyz (200 if every part that ``ready`` names is) and /metrics.

    Returns the server; its ``server_port`` is the port. Raises OSError if the address can't be had.
    """

    class Handler(BaseHTTPRequestHandler):
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

    server = ThreadingHTTPServer((host, port), Handler)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server
