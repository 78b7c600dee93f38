"""How many IMs go the whole way, and how long one takes from its acceptance to its commit."""

from statistics import median

from benchmarks.answer import Answer
from benchmarks.load import make_submissions
from benchmarks.system import System

_SECONDS = 15
_PEAK = 5000
"""IM/s of 300,000 users at their peak."""


def measure_whole_way(system: System, count: int, rounds: int) -> tuple[Answer, Answer]:
    """Measure the rate, then the latency at parts of it."""
    rate_answer = Answer(
        "whole-way", "How many IMs go the whole way, from the front end to a committed row?",
        ["what", "figure"], unit="µs of CPU an IM",
    )  # fmt: skip
    rates, answered_rates = [], []
    cpu: dict[str, float] = {}
    for number in range(rounds):
        answered, committed, parts = system.send(make_submissions(count, seed=10 + number))
        rates.append(count / committed)
        answered_rates.append(count / answered)
        cpu = {part: cpu.get(part, 0.0) + seconds / rounds for part, seconds in parts.items()}
    rate = median(rates)
    rate_answer.add("one NDJSON stream until all rows are committed", f"{rate:,.0f}/s")
    rate_answer.add("the same, until all are answered 201", f"{median(answered_rates):,.0f}/s")
    rate_answer.add("best and worst round", f"{max(rates):,.0f}/s, {min(rates):,.0f}/s")
    for part, seconds in cpu.items():
        rate_answer.add(f"CPU: {part}", f"{seconds / count * 1e6:.1f} µs/IM", bar=seconds / count * 1e6)

    latency_answer = Answer(
        "latency", "How long does an IM take from its acceptance to its commit?",
        ["load", "IM/s", "p50", "p99", "p99.9"], unit="ms, p99",
    )  # fmt: skip
    for load, some in (
        ("10 %", rate * 0.1),
        ("the peak of 300,000 users", _PEAK),
        ("50 %", rate * 0.5),
        ("90 %", rate * 0.9),
    ):
        submissions = make_submissions(int(some * _SECONDS), seed=int(some))
        _, seconds, _ = system.send(submissions, rate=some)
        p50, p99, p999 = system.latency(seconds)
        reached = len(submissions) / seconds
        latency_answer.add(
            load, f"{reached:,.0f}", f"{p50:.0f} ms", f"{p99:.0f} ms", f"{p999:.0f} ms", bar=p99
        )
    return rate_answer, latency_answer
