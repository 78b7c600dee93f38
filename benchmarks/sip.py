"""How many MESSAGEs a second go through the SIP edge to committed rows, and how long a sender waits.

sipp sends at a steady rate, as a trusted gateway, to one client that answers each; beside it an edge with a
hook that agrees to everything. Needs a Docker Engine.
"""

import csv
import secrets
import statistics
import time
from pathlib import Path
from typing import Final, NamedTuple

import docker

from benchmarks.answer import STATE, Answer
from benchmarks.system import System
from deploy.local.process import find_free_port
from tests.sip import scenarios
from tests.sip.edge import CLIENTS_IMAGE, GATEWAY, HOST, Edge, Sipp, agreeing_server, build_images

_SECONDS: Final = 15
_WORD: Final = "x" * 400


class Run(NamedTuple):
    """Counts of MESSAGEs sent at a rate, by their outcome."""

    sent: int
    failed: int
    p50: float
    """Milliseconds from MESSAGE to 200."""
    p99: float


def measure_sip(system: System, rates: list[int]) -> tuple[Answer, Answer]:
    """Answer for some rates, in MESSAGEs a second; and the cost of one at the last rate without failures."""
    answer = Answer(
        "sip",
        "How many SIP MESSAGEs a second are archived and delivered?",
        ["MESSAGE/s", "sent", "failed", "committed", "p50 ms", "p99 ms", "hook that agrees: p50", "p99"],
        unit="p99 ms",
    )
    costs = Answer("sip-cpu", "What does a SIP MESSAGE cost?", ["part", "CPU"], unit="µs of CPU a MESSAGE")
    engine = docker.from_env(timeout=120)
    build_images(engine)
    folder = STATE / f"sip-{secrets.token_hex(4)}"
    folder.mkdir(parents=True)
    own = _Edge(engine, folder / "own", f"{system.front_end_url}/v1/sip", system.token)
    with agreeing_server() as agreeing:
        bare = _Edge(engine, folder / "bare", agreeing, system.token)
        try:
            for rate in rates:
                before = system.count()
                meter = system.meter(**own.processes)
                run = own.send(rate)
                system.wait_for(before + run.sent - run.failed)
                seconds = meter.stop()
                beside = bare.send(rate)
                answer.add(
                    f"{rate:,}", f"{run.sent:,}", f"{run.failed:,}", f"{system.count() - before:,}",
                    f"{run.p50:.0f}", f"{run.p99:.0f}", f"{beside.p50:.0f}", f"{beside.p99:.0f}", bar=run.p99,
                )  # fmt: skip
                if run.failed:
                    break
                costs.rows.clear()
                costs.bars.clear()
                for part, used in seconds.items():
                    cost = used / run.sent * 1e6
                    costs.add(part, f"{cost:,.0f} µs", bar=cost)
        finally:
            own.stop()
            bare.stop()
    return answer, costs


class _Edge:
    """An edge of contoso.com, and a client there that answers."""

    def __init__(self, engine: docker.DockerClient, folder: Path, hook: str, token: str) -> None:
        self._engine = engine
        self._folder = folder
        self._edge = Edge(engine, folder / "edge", "contoso.com")
        self._edge.start(hook, token, LCS_SIP_CERTIFICATE="", LCS_SIP_KEY="", LCS_SIP_AUTHORITIES="")
        self._sipp = Sipp(engine, folder)
        port, _ = self._sipp.answer(scenarios.agree(), "-trace_err")
        password = self._edge.password_of("ada0@contoso.com")
        register = scenarios.register("ada0@contoso.com", password, f"sip:ada0@{HOST}:{port}")
        self._sipp.run(register, self._edge.port)

    @property
    def processes(self) -> dict[str, int]:
        """The edge, and the client that answers there."""
        return {"edge": self._edge.pid, "the client that answers": self._sipp.pids[0]}

    def send(self, rate: int) -> Run:
        """Send at a rate for some seconds."""
        name = secrets.token_hex(4)
        scenario = scenarios.message("gateway@contoso.com", "ada0@contoso.com", _WORD)
        scenario = scenario.replace('retrans="500"', 'retrans="500" start_rtd="1"')
        scenario = scenario.replace('<recv response="200"', '<recv response="200" rtd="1"')
        scenario = scenario.replace("[branch]", f"[branch]-{name}")
        (self._folder / f"{name}.xml").write_text(scenario)
        count = rate * _SECONDS
        command = [
            *("sipp", "-sf", f"/work/{name}.xml", "-i", GATEWAY, "-p", str(find_free_port()), "-nostdin"),
            *("-cid_str", f"%u-{name}@%s", "-r", str(rate), "-m", str(count), "-l", str(20 * rate)),
            *("-trace_rtt", "-rtt_freq", "1000", "-trace_stat", "-stf", f"/work/{name}.csv", "-fd", "1"),
            f"{HOST}:{self._edge.port}",
        ]
        container = self._engine.containers.run(
            CLIENTS_IMAGE,
            command,
            detach=True,
            network_mode="host",
            volumes={str(self._folder): {"bind": "/work", "mode": "rw"}},
            working_dir="/work",
        )
        try:
            container.wait(timeout=_SECONDS * 10)
        finally:
            container.remove(force=True)
        with (self._folder / f"{name}.csv").open() as file:
            last = list(csv.DictReader(file, delimiter=";"))[-1]
        times = [
            float(line.split(";")[1])
            for path in self._folder.glob(f"{name}_*_rtt.csv")
            for line in path.read_text().splitlines()[1:]
        ]
        cuts = statistics.quantiles(times, n=100)
        time.sleep(1)  # what is sent again has come to rest
        return Run(int(last["TotalCallCreated"]), int(last["FailedCall(C)"]), cuts[49], cuts[98])

    def stop(self) -> None:
        """Remove it."""
        self._sipp.stop()
        self._edge.stop()
