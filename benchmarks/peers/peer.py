"""A peer to the main program: a name, a version, and a run of so many IMs."""

from dataclasses import dataclass, field
from typing import Protocol

WHOLE_WAY = "LCS Archive, whole way"
DRAIN_GROUPS = "LCS Archive, worker, 250 IMs a message"
DRAIN_SINGLES = "LCS Archive, worker, one IM a message"


class NotInstalledError(RuntimeError):
    """Raised when a peer's program is not on this machine; the text says how to install it."""


@dataclass(frozen=True)
class Result:
    """A measurement: so many IMs, committed in so many seconds, for so much CPU time."""

    ims: int
    seconds: float
    cpu: dict[str, float] = field(default_factory=dict)
    """CPU seconds by part: the server, PostgreSQL, the broker; never the load client."""

    @property
    def rate(self) -> float:
        """IMs archived per second; 0 if the run was too short to tell."""
        return self.ims / self.seconds if self.ims > 0 and self.seconds > 0 else 0.0

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of all parts."""
        return sum(self.cpu.values())


class Peer(Protocol):
    """One way to archive IMs."""

    @property
    def name(self) -> str:
        """Its name in the report."""

    @property
    def measured(self) -> str:
        """The unit of its figure."""

    @property
    def beside(self) -> str:
        """The name of the line of LCS Archive that does the same work."""

    def version(self) -> str:
        """Return its version. Raises NotInstalledError."""

    def run(self, count: int) -> Result:
        """Archive so many IMs in a fresh database; every one of them is counted there."""
