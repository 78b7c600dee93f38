"""How many IMs a front end accepts, beside the fastest Python client that publishes with confirms."""

import asyncio
from statistics import median

from benchmarks.answer import Answer
from benchmarks.limits import make_ims, measure_confirms, publish_groups
from benchmarks.load import make_submissions, send_singles, send_stream
from benchmarks.system import System

_GROUP = 1000
"""IMs of the largest message that a front end makes."""


def measure_accept(system: System, count: int, rounds: int) -> Answer:
    """Measure without a worker: accepted IMs stay in the queue."""
    answer = Answer("accept", "How many IMs does a front end accept?", ["what", "figure", "ratio"])
    found: dict[str, list[float]] = {name: [] for name in ("single", "stream", "confirm", "group")}
    system.stop_worker()
    for _ in range(rounds):
        found["confirm"].append(measure_confirms(system.publisher_url, make_ims(count // 5)))
        found["group"].append(publish_groups(system.publisher_url, make_ims(count), size=_GROUP))
        seconds, accepted = asyncio.run(
            send_singles(system.front_end_url, system.token, make_submissions(count // 20), connections=32)
        )
        found["single"].append(accepted / seconds)
        seconds, accepted = asyncio.run(
            send_stream(system.front_end_url, system.token, make_submissions(count))
        )
        found["stream"].append(accepted / seconds)
        system.purge()
    system.start_worker()

    def ratio(mine: str, limit: str) -> str:
        return f"{median(a / b for a, b in zip(found[mine], found[limit], strict=True)):.2f}"

    answer.unit = "IMs/s"
    for name, what, beside in (
        ("single", "single POSTs, 32 kept-alive connections, answered 201", ratio("single", "confirm")),
        ("confirm", "pika, one IM a message, confirmed", ""),
        ("stream", "NDJSON stream, answered 201", ratio("stream", "group")),
        ("group", f"pika, {_GROUP:,} IMs a message, each confirmed before the next", ""),
    ):
        answer.add(what, f"{median(found[name]):,.0f}/s", beside, bar=median(found[name]))
    return answer
