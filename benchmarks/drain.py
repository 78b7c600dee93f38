"""How fast a worker empties the queue, beside the database and the broker with nothing of ours around."""

from statistics import median

from archiving.archive import Archive
from benchmarks.answer import Answer
from benchmarks.limits import make_ims, measure_consume, measure_copy, publish_groups
from benchmarks.system import System

_BATCH = 2000
_GROUP = 250


def measure_drain(system: System, count: int, rounds: int) -> Answer:
    """Measure the limits in every round beside the worker: a machine is not always as fast."""
    answer = Answer(
        "drain", "How fast does a worker drain a full queue?", ["what", "figure", "worker ÷ this"]
    )
    found: dict[str, list[float]] = {name: [] for name in ("worker", "copy", "conflict", "consume", "cpu")}
    system.stop_worker()
    for _ in range(rounds):
        archive = Archive(system.worker_database_url)
        raw, conflict = measure_copy(system.database_url, archive, make_ims(count), size=_BATCH)
        archive.close()
        publish_groups(system.publisher_url, make_ims(count), size=_GROUP)
        consume = measure_consume(system.secret("archiving", "lcs_amqp_url"), count)
        publish_groups(system.publisher_url, make_ims(count), size=_GROUP)
        ims, seconds, cpu = system.drain(count)
        system.stop_worker()
        for name, figure in (
            ("worker", ims / seconds), ("copy", raw), ("conflict", conflict), ("consume", consume),
            ("cpu", sum(cpu.values()) / ims * 1e6),
        ):  # fmt: skip
            found[name].append(figure)
    system.start_worker()

    def beside(name: str) -> str:
        return f"{median(mine / limit for mine, limit in zip(found['worker'], found[name], strict=True)):.2f}"

    answer.unit = "IMs/s"
    for name, what in (
        ("worker", f"worker: {_GROUP} IMs a message, committed and acknowledged"),
        ("conflict", f"database: COPY + INSERT … ON CONFLICT of ready rows, {_BATCH:,} a commit"),
        ("copy", f"database: COPY of ready rows into messages, {_BATCH:,} a commit"),
        ("consume", "broker: the same queue consumed by pika, nothing else done"),
    ):
        ratio = "" if name == "worker" else beside(name)
        answer.add(what, f"{median(found[name]):,.0f}/s", ratio, bar=median(found[name]))
    answer.add("worker, broker and database: CPU", f"{median(found['cpu']):.1f} µs/IM", "")
    return answer
