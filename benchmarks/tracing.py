"""The cost of exporting spans to a collector of OpenTelemetry."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from statistics import median
from typing import Final

from benchmarks.answer import Answer
from benchmarks.load import make_submissions
from benchmarks.system import System

_RATIOS: Final = {"nobody (the default)": None, "1 IM in 100": "0.01", "every IM": "1"}


def measure_tracing(system: System, count: int, rounds: int) -> Answer:
    """Measure the whole way; spans go to a collector in this process that drops them."""
    answer = Answer(
        "tracing", "What does it cost to tell a collector?",
        ["told of", "the whole way", "÷ nobody", "CPU of front end and worker"], unit="IMs/s",
    )  # fmt: skip
    collector = ThreadingHTTPServer(("127.0.0.1", 0), _Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{collector.server_port}"
    rates: dict[str, list[float]] = {told: [] for told in _RATIOS}
    cpu: dict[str, list[float]] = {told: [] for told in _RATIOS}
    for number in range(rounds):
        for told, ratio in _RATIOS.items():
            settings = {} if ratio is None else {"LCS_OTLP_ENDPOINT": endpoint, "LCS_TRACE_RATIO": ratio}
            system.restart(**settings)
            _, seconds, parts = system.send(make_submissions(count, seed=number))
            rates[told].append(count / seconds)
            cpu[told].append((parts["front_end"] + parts["worker"]) / count * 1e6)
    collector.shutdown()
    nobody = rates[next(iter(_RATIOS))]
    for told, each in rates.items():
        ratio_of_rates = median(mine / theirs for mine, theirs in zip(each, nobody, strict=True))
        answer.add(
            told, f"{median(each):,.0f}/s", f"{ratio_of_rates:.2f}", f"{median(cpu[told]):.1f} µs/IM",
            bar=median(each),
        )  # fmt: skip
    return answer


class _Collector(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """A benchmark prints its answers only."""
