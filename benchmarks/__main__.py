"""``make bench``: the services on a private stack, each figure beside its limit measured in the same run."""

import asyncio
import os
import platform
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psycopg

from archiving.archive import Archive
from benchmarks.limits import make_ims, measure_confirms, measure_copy, publish_groups
from benchmarks.load import make_submissions, send_singles, send_stream
from contract.topology import QUEUE
from deploy.local.process import wait_for
from deploy.local.stack import Stack

STATE = Path(__file__).parent.parent / ".state" / "bench"
BATCH = 2000


class Report:
    """Lines of a Markdown table: what, how much, beside which limit."""

    def __init__(self) -> None:
        """Start with the table's head."""
        self.lines = ["| what | figure | limit in this run | ratio |", "| --- | ---: | ---: | ---: |"]

    def add(self, what: str, figure: str, limit: str = "", ratio: float | None = None) -> None:
        """Add a line and show that there is progress."""
        self.lines.append(f"| {what} | {figure} | {limit} | {'' if ratio is None else f'{ratio:.2f}'} |")
        print(f"  {what}: {figure}", file=sys.stderr)


def _archived(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "SELECT coalesce(sum(archived), 0)::bigint FROM archive.completeness"
        ).fetchone()
        assert row is not None
        return int(row[0])


def _wait_for_rows(database_url: str, count: int, seconds: float = 300) -> None:
    wait_for(lambda: _archived(database_url) >= count, f"{count} rows", seconds=seconds, every=0.02)


def _measure(stack: Stack, count: int) -> Report:
    report = Report()
    assert stack.broker is not None
    assert stack.database is not None
    secrets = stack.folder / "secrets"
    database_url = stack.database.url(database="lcslog")
    front_end, token = stack.front_end_urls[0], stack.tokens["connector"]
    publisher = (secrets / "frontend" / "lcs_amqp_url").read_text().strip()
    administrator = httpx.Client(
        base_url=stack.admin_url, headers={"Authorization": f"Bearer {stack.tokens['administrator']}"}
    )
    administrator.put("/v1/policy/domains/contoso.com", json={}).raise_for_status()
    administrator.put("/v1/policy/global/internal", json={"archive": "everyone"}).raise_for_status()
    worker = stack.processes["archiving-1"]
    worker.stop(signal.SIGTERM)

    confirms = measure_confirms(publisher, make_ims(count // 5))
    stack.broker.manage("DELETE", f"/api/queues/lcs/{QUEUE}/contents")
    groups = publish_groups(publisher, make_ims(count), size=250)
    stack.broker.manage("DELETE", f"/api/queues/lcs/{QUEUE}/contents")
    report.add("broker: one IM a message, confirmed, pika", f"{confirms:,.0f}/s")
    report.add("broker: 250 IMs a message, each confirmed, pika", f"{groups:,.0f}/s")

    archive = Archive((secrets / "archiving" / "lcs_database_url").read_text().strip())
    raw, conflict = measure_copy(database_url, archive, make_ims(count), size=BATCH)
    archive.close()
    report.add("database: COPY of ready rows into messages", f"{raw:,.0f}/s")
    report.add("database: COPY + INSERT … ON CONFLICT", f"{conflict:,.0f}/s")

    before = _archived(database_url)
    publish_groups(publisher, make_ims(count), size=250)
    worker = stack.start_worker("archiving-1")
    _wait_for_rows(database_url, before + 1)
    started, first = time.perf_counter(), _archived(database_url)
    _wait_for_rows(database_url, before + count)
    drain = (before + count - first) / (time.perf_counter() - started)
    limit = f"{conflict:,.0f}/s COPY + ON CONFLICT; {raw:,.0f}/s COPY"
    report.add("worker: drain of a full queue, rows committed", f"{drain:,.0f}/s", limit, drain / conflict)

    seconds, accepted = asyncio.run(
        send_singles(front_end, token, make_submissions(count // 10), connections=32)
    )
    single = accepted / seconds
    report.add(
        "front end: single POSTs, 32 kept-alive connections, answered 201",
        f"{single:,.0f}/s", f"{confirms:,.0f}/s", single / confirms,
    )  # fmt: skip
    before = _archived(database_url)
    submissions = make_submissions(count, seed=2)
    started = time.perf_counter()
    seconds, accepted = asyncio.run(send_stream(front_end, token, submissions))
    stream = accepted / seconds
    report.add(
        "front end: NDJSON stream, answered 201", f"{stream:,.0f}/s", f"{groups:,.0f}/s", stream / groups
    )
    _wait_for_rows(database_url, before + accepted)
    whole = accepted / (time.perf_counter() - started)
    report.add(
        "whole way: NDJSON stream to committed rows",
        f"{whole:,.0f}/s",
        f"{conflict:,.0f}/s",
        whole / conflict,
    )

    half = whole / 2
    seconds, accepted = asyncio.run(
        send_stream(front_end, token, make_submissions(int(half * 10), seed=3), rate=half)
    )
    _wait_for_rows(database_url, before + count + accepted)
    report.add(
        "accept to committed, p50 / p99", _latency(database_url, seconds), f"at half load: {half:,.0f}/s"
    )
    return report


def _latency(database_url: str, seconds: float) -> str:
    """Return p50 and p99 between acceptance (the time inside the id) and the commit, of the last IMs."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM"
            " pg_xact_commit_timestamp(xmin) - sent_at) * 1000)"
            " FROM archive.messages WHERE sent_at > now() - make_interval(secs => %s) AND sent_at < now()",
            [seconds],
        ).fetchone()
        assert row is not None
        return " / ".join(f"{milliseconds:.1f} ms" for milliseconds in row[0])


def main() -> None:
    """Measure and print a Markdown table; ``LCS_BENCH_IMS`` says with how many IMs."""
    count = int(os.environ.get("LCS_BENCH_IMS", "200000"))
    say: Callable[[str], None] = lambda text: print(f"  {text}", file=sys.stderr)  # noqa: E731 - one line
    shutil.rmtree(STATE, ignore_errors=True)
    stack = Stack(STATE, front_ends=1, say=say)
    try:
        stack.start()
        report = _measure(stack, count)
    finally:
        stack.stop()
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {count:,} IMs of 400 characters"
    print(f"\n{machine}; everything on this machine\n")
    print("\n".join(report.lines))


if __name__ == "__main__":
    main()
