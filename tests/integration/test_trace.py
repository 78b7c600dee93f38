"""One IM's trace: what the archive keeps of its way, and what a collector is told."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import UUID

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from admin_api.__main__ import main
from contract.message import encode_ims, make_id
from deploy.local.process import wait_for
from tests.conftest import ArchiveDatabase, Vhost
from tests.integration.archiving_service import (
    KILL_AT,
    finish,
    make_ims,
    publish,
    running_worker,
    wait_until_stored,
)
from tests.integration.frontend_service import IM, FrontEnd

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_an_im_that_comes_twice_is_stored_once_and_both_deliveries_are_known(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    ims = make_ims(3)
    with running_worker(vhost, database, tmp_path) as worker:
        publish(vhost, ims)
        wait_until_stored(database, ims)
        publish(vhost, ims)
        finish(worker, vhost)
    rows = database.rows(
        "SELECT publish_ims, batch_stored_at >= stored_at, committed_at <= acknowledged_at"
        " FROM archive.traces WHERE seq = 2 ORDER BY batch"
    )
    assert rows == [(3, True, True), (3, True, True)]


def test_the_trace_of_a_message_with_an_unreadable_line_is_kept(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    ims = make_ims(4)
    lines = encode_ims(ims).splitlines()
    publish(vhost, ims, body=b"\n".join([b"?", *lines[1:3], b"?"]))
    with running_worker(vhost, database, tmp_path) as worker:
        wait_until_stored(database, ims[1:3])
        finish(worker, vhost)
    rows = database.rows("SELECT seq, publish_ims, consumed_at IS NULL FROM archive.traces ORDER BY seq")
    assert rows == [(2, 4, False), (3, 4, False)]


def test_when_a_message_came_is_known_even_if_a_trial_stored_it(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    ims = make_ims(2)
    publish(vhost, ims)
    patch = KILL_AT + "import archiving.preparation; archiving.preparation.prepare_batch = die"
    for number in range(2):
        with running_worker(vhost, database, tmp_path / str(number), patch=patch) as worker:
            assert worker.popen.wait(30) == -signal.SIGKILL
    with running_worker(vhost, database, tmp_path) as worker:
        wait_until_stored(database, ims)
        finish(worker, vhost)
    rows = database.rows("SELECT consumed_at > now() - interval '1 hour' FROM archive.traces")
    assert rows == [(True,), (True,)]


def test_a_trace_is_forgotten_in_time_and_the_im_is_not(database: ArchiveDatabase) -> None:
    database.rows(
        "WITH batch AS (INSERT INTO archive.batches (worker, number, ims, stored_at)"
        "  SELECT 'w', n, 1, now() - n * interval '1 day' FROM generate_series(1, 40) AS n RETURNING *)"
        " INSERT INTO archive.publishes (agent_id, first_seq, ims, consumed_at, batch_id)"
        " SELECT 1, number, 1, stored_at, id FROM batch RETURNING 1"
    )
    left = "SELECT (SELECT count(*) FROM archive.batches), (SELECT count(*) FROM archive.publishes)"
    assert database.rows("SELECT archive.forget_traces(30, 3)") == [(6,)]
    assert database.rows(left) == [(37, 37)]
    assert database.rows("SELECT archive.forget_traces(30, 1000)") == [(16,)]
    assert database.rows(left) == [(29, 29)]


def test_the_command_names_what_is_wrong_with_an_id(
    database: ArchiveDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wrong in ([], ["17"], ["0af76519-16cd-43dd-8448-eb211c80319c"]):
        monkeypatch.setattr(sys, "argv", ["admin_api", "trace", *wrong])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == "trace: name an IM by its id, a UUIDv7"  # printed, and 1
    done = subprocess.run(
        [sys.executable, "-m", "admin_api", "trace", str(make_id())],
        env={"LCS_DATABASE_URL": database.url("lcs_admin")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "there is no such IM in the archive\n")


class Collector:
    """An OpenTelemetry collector that keeps what it is told."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        spans = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    raise AssertionError("not expected compressed")
                told = ExportTraceServiceRequest.FromString(body)
                spans.extend(
                    span
                    for resource in told.resource_spans
                    for scope in resource.scope_spans
                    for span in scope.spans
                )
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


def test_a_collector_is_told_of_the_whole_way_in_one_trace(
    vhost: Vhost,
    database: ArchiveDatabase,
    tmp_path: Path,
    start: Callable[..., FrontEnd],
    collector: Collector,
) -> None:
    front_end = start(vhost.url("frontend"), LCS_OTLP_ENDPOINT=collector.url, LCS_TRACE_RATIO="1")
    worker = running_worker(vhost, database, tmp_path, settings={"LCS_OTLP_ENDPOINT": collector.url})
    with worker as process:
        front_end.wait_until_ready()
        ours = UUID(front_end.post(IM).json()["id"])
        front_end.post(IM, traceparent=PARENT)
        front_end.post(IM, traceparent=PARENT.removesuffix("01") + "00")  # its sender doesn't want it
        wait_for(lambda: len(database.rows("SELECT FROM archive.messages")) == 3, "the IMs in the archive")
        assert front_end.process.stop() == 0
        assert process.stop() == 0
    traces: dict[str, dict[str, Span]] = {}
    for span in collector.spans:
        traces.setdefault(span.trace_id.hex(), {})[span.name] = span
    assert set(traces) == {ours.hex, PARENT.split("-")[1]}
    for trace in traces.values():
        assert set(trace) == {"archive IM", "publish lcslog", "commit IM"}
        assert trace["publish lcslog"].parent_span_id == trace["archive IM"].span_id
        assert trace["commit IM"].parent_span_id == trace["publish lcslog"].span_id
        assert trace["archive IM"].end_time_unix_nano <= trace["commit IM"].end_time_unix_nano
    assert traces[PARENT.split("-")[1]]["archive IM"].parent_span_id.hex() == PARENT.split("-")[2]
    assert not any("contoso" in str(span) for span in collector.spans)


def test_without_a_collector_no_context_goes_with_an_im(vhost: Vhost, front_end: FrontEnd) -> None:
    front_end.post(IM, traceparent=PARENT)
    headers = [d.properties.headers for d in vhost.take("lcslog") if d.properties.headers]
    assert headers
    assert not any("traceparent" in each for each in headers)
