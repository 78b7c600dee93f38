"""How many IMs go the whole way, and how long one takes from its acceptance to its commit."""

from operator import sub, truediv
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
        ["what", "with call detail records", "without", "with ÷ without"], unit="µs of CPU an IM",
    )  # fmt: skip
    answered: dict[bool, list[float]] = {True: [], False: []}
    committed: dict[bool, list[float]] = {True: [], False: []}
    cpu: dict[bool, dict[str, list[float]]] = {True: {}, False: {}}
    for number in range(rounds):
        for recorded in (True, False):
            system.record(recorded)
            to_answer, to_commit, parts = system.send(make_submissions(count, seed=10 + number))
            answered[recorded].append(count / to_answer)
            committed[recorded].append(count / to_commit)
            for part, seconds in parts.items():
                cpu[recorded].setdefault(part, []).append(seconds / count * 1e6)
    system.record(True)
    for what, rates in (
        ("one NDJSON stream until all rows are committed", committed),
        ("the same, until all are answered 201", answered),
    ):
        both = [f"{median(rates[recorded]):,.0f}/s" for recorded in (True, False)]
        rate_answer.add(what, *both, f"{median(map(truediv, rates[True], rates[False])):.2f}")
    spans = [f"{max(rates):,.0f}/s, {min(rates):,.0f}/s" for rates in committed.values()]
    rate_answer.add("best and worst round", *spans, "")
    for part, each in cpu[True].items():
        with_records, without = median(each), median(cpu[False][part])
        rate_answer.add(
            f"CPU: {part}", f"{with_records:.1f} µs/IM", f"{without:.1f} µs/IM",
            f"{median(map(sub, each, cpu[False][part])):+.1f} µs/IM", bar=with_records,
        )  # fmt: skip
    rate = median(committed[True])

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
        p50, p99, p999 = system.latency()
        reached = len(submissions) / seconds
        latency_answer.add(
            load, f"{reached:,.0f}", f"{p50:.0f} ms", f"{p99:.0f} ms", f"{p999:.0f} ms", bar=p99
        )
    return rate_answer, latency_answer
