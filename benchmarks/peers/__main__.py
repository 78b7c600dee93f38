"""``make bench-peers``: every peer on the same servers, one after the other, in one run."""

import os
import signal
import sys
from pathlib import Path

from benchmarks.answer import describe_machine
from benchmarks.peers.consumer import make_consumers
from benchmarks.peers.ejabberd import Ejabberd
from benchmarks.peers.ground import Ground
from benchmarks.peers.lcs import Drain, WholeWay
from benchmarks.peers.peer import NotInstalledError, Peer, Result
from benchmarks.peers.prosody import Prosody
from benchmarks.peers.report import Line, make_table, write_results

STATE = Path(__file__).parents[2] / ".state" / "peers"
_SECONDS = 15.0
_ROUNDS = int(os.environ.get("LCS_BENCH_ROUNDS", "1"))
_FIRST = 2000
_MOST = 600_000
"""IMs of one run: more would fill the memory of the load client."""


def _run_long(peer: Peer, wanted: int | None) -> list[Result]:
    """Return the results of runs of some 15 seconds: shorter ones before say how many IMs that takes."""
    count = wanted or _FIRST
    result = peer.run(count)
    while wanted is None and result.seconds < 0.6 * _SECONDS and count < _MOST:
        count = min(int(result.rate * _SECONDS) or 5 * count, 10 * count, _MOST)
        print(f"  {peer.name}: {result.rate:,.0f}/s, now {count:,} IMs", file=sys.stderr)
        result = peer.run(count)
    if not result.rate:
        raise RuntimeError(f"{count:,} IMs are too few to tell: the first commit had them all")
    return [result, *(peer.run(count) for _ in range(_ROUNDS - 1))]


def _measure(peer: Peer, wanted: int | None) -> Line:
    try:
        version = peer.version()
    except NotInstalledError as error:
        line = Line(peer, "", None, f"not installed: {error}")
    else:
        try:
            results = _run_long(peer, wanted)
        except Exception as error:  # one peer's failure is a line of the report, not its end
            line = Line(peer, version, None, f"failed: {str(error).splitlines()[0]}")
            print(f"  {peer.name}: {error}", file=sys.stderr)
        else:
            # The median: what else the machine does makes some runs slower.
            results.sort(key=lambda result: result.rate)
            line = Line(peer, version, results[len(results) // 2], rates=[result.rate for result in results])
    outcome = f"{line.result.rate:,.0f}/s" if line.result else line.reason
    print(f"  {peer.name}: {outcome}", file=sys.stderr)
    return line


def main() -> int:
    """Measure, print a table, write ``results.json``; 1 if a peer failed.

    ``LCS_BENCH_IMS`` says how many IMs for every run, in place of as many as take some 15 seconds;
    ``LCS_BENCH_ROUNDS`` is how many such runs each peer gets, of which the median is shown;
    ``LCS_BENCH_PEERS`` measures only peers with this in their name.
    """
    wanted = int(os.environ.get("LCS_BENCH_IMS", "0")) or None
    chosen = os.environ.get("LCS_BENCH_PEERS", "").lower()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended then too
    ground = Ground(STATE)
    ours: list[Peer] = [WholeWay(ground), Drain(ground, groups=True), Drain(ground, groups=False)]
    others: list[Peer] = [Ejabberd(ground), Prosody(ground), *make_consumers(ground)]
    try:
        ground.start()
        lines = [_measure(peer, wanted) for peer in ours if chosen in peer.name.lower()]
        ground.end_services()
        lines += [_measure(peer, wanted) for peer in others if chosen in peer.name.lower()]
    finally:
        ground.stop()
    write_results(lines, STATE / "results.json")
    print(f"\n{describe_machine()}; everything on this machine\n")
    print(make_table(lines))
    return int(any(line.reason.startswith("failed") for line in lines))


if __name__ == "__main__":
    sys.exit(main())
