"""Rate and latency as the archive grows, and as the organisation does."""

import time
from statistics import median

import psycopg

from benchmarks.answer import Answer
from benchmarks.limits import make_ims, publish_groups
from benchmarks.load import make_submissions
from benchmarks.system import System

_PEAK = 5000
_SECONDS = 10
_ROUNDS = 3
_STEP = 500_000
_FILL = """
INSERT INTO archive.messages (id, sent_at, conversation_id, sender_id, recipient_ids, federated,
                              content_type_id, body, agent_id, seq, policy_version, rule_id)
SELECT (lpad(to_hex(ms), 12, '0') || '7' || substr(md5(random()::text), 1, 3) || '8'
        || substr(md5(random()::text), 1, 15))::uuid,
       to_timestamp(ms / 1000.0), 1 + (random() * %(conversations)s)::bigint, 1, '{2}', false, 1,
       repeat('an IM of some forty characters, of which ', 10)::varchar(400), 1, 0, 1, 1
FROM (SELECT %(first)s + n / 2 AS ms FROM generate_series(1, %(count)s) AS n) AS one
"""
"""Rows of the months' past, two a millisecond, in conversations at random: the worst for that index."""


def measure_rows(system: System, sizes: list[int], count: int) -> Answer:
    """Measure drain and latency in an archive that grows."""
    answer = Answer(
        "growth-rows", "Does a full archive slow it down?",
        ["archived IMs", "worker drain", "÷ the smallest archive", "p50 at 5,000/s", "p99"],
        unit="IMs/s drained",
    )  # fmt: skip
    rates: list[float] = []
    for size in sizes:
        _fill(system, size)
        rate = _drain(system, count)
        system.send(make_submissions(_PEAK * _SECONDS, seed=size), rate=_PEAK)
        p50, p99, _ = system.latency()
        rates.append(rate)
        answer.add(
            f"{size:,}",
            f"{rate:,.0f}/s",
            f"{rate / rates[0]:.2f}",
            f"{p50:.0f} ms",
            f"{p99:.0f} ms",
            bar=rate,
        )
    return answer


def measure_users(system: System, sizes: list[int], count: int) -> Answer:
    """Measure drain and latency with more and more people."""
    answer = Answer(
        "growth-users", "Do more users slow it down?", ["users", "worker drain", "p50 at 5,000/s", "p99"],
        unit="IMs/s drained",
    )  # fmt: skip
    for size in sizes:
        rate = _drain(system, count, users=size)
        submissions = make_submissions(_PEAK * _SECONDS, seed=size, users=size)
        system.send(submissions, rate=_PEAK)
        p50, p99, _ = system.latency()
        answer.add(f"{size:,}", f"{rate:,.0f}/s", f"{p50:.0f} ms", f"{p99:.0f} ms", bar=rate)
    return answer


def _drain(system: System, count: int, *, users: int = 20_000) -> float:
    system.stop_worker()
    rates = []
    for _ in range(_ROUNDS):
        publish_groups(system.publisher_url, make_ims(count, users=users), size=250)
        ims, seconds, _ = system.drain(count)
        rates.append(ims / seconds)
        system.stop_worker()
    system.start_worker()
    return median(rates)


def _fill(system: System, size: int) -> None:
    """Have about so many rows in the archive, the new ones in this month."""
    with psycopg.connect(system.database_url, autocommit=True) as connection:
        row = connection.execute(
            "SELECT count(*),"
            " extract(epoch FROM date_trunc('month', now() AT TIME ZONE 'UTC'))::bigint * 1000,"
            " (SELECT coalesce(max(id), 1) FROM archive.conversations) FROM archive.messages"
        ).fetchone()
        assert row is not None
        there, month, conversations = row
        while there < size:
            some = min(_STEP, size - there)
            connection.execute(
                _FILL, {"conversations": conversations, "first": month + there // 2, "count": some}
            )
            there += some
        connection.execute("VACUUM ANALYZE archive.messages")
    time.sleep(1)
    system.settle()
