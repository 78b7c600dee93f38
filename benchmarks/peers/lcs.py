"""LCS Archive itself: the whole way, and the worker alone on a full queue."""

import time
import tomllib
from pathlib import Path

from benchmarks.limits import make_ims, measure_confirms, publish_groups
from benchmarks.load import make_submissions
from benchmarks.peers.ground import Ground
from benchmarks.peers.peer import DRAIN_GROUPS, DRAIN_SINGLES, WHOLE_WAY, Result

_PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def _version() -> str:
    return str(tomllib.loads(_PROJECT.read_text())["project"]["version"])


class WholeWay:
    """One NDJSON stream to one front end, until every row is committed."""

    name = beside = WHOLE_WAY
    measured = "NDJSON stream to committed rows: front end, broker, worker, PostgreSQL"

    def __init__(self, ground: Ground) -> None:
        """Measure the services of the ground's stack."""
        self._ground = ground

    def version(self) -> str:
        """Return the project's version."""
        return _version()

    def run(self, count: int) -> Result:
        """Send so many IMs and wait for their rows."""
        _, seconds, cpu = self._ground.system.send(make_submissions(count, seed=time.time_ns()))
        return Result(count, seconds, cpu)


class Drain:
    """A worker that starts on a full queue, from its first commit to its last."""

    def __init__(self, ground: Ground, *, groups: bool) -> None:
        """``groups``: 250 IMs a message, as a busy front end sends them; else one, as peers get them."""
        self._ground = ground
        self._groups = groups
        self.name = self.beside = DRAIN_GROUPS if groups else DRAIN_SINGLES
        self.measured = "full queue to committed rows: worker, broker, PostgreSQL"

    def version(self) -> str:
        """Return the project's version."""
        return _version()

    def run(self, count: int) -> Result:
        """Fill the queue, start the worker and wait for the rows."""
        system = self._ground.system
        system.stop_worker()
        if self._groups:
            publish_groups(system.publisher_url, make_ims(count), size=250)
        else:
            measure_confirms(system.publisher_url, make_ims(count))
        return Result(*system.drain(count))
