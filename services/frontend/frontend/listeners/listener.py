"""The seam of a listener: one way by which IMs, or word of them, come in."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from starlette.routing import Route

from frontend.listeners.reception import Reception

Operation = dict[str, Any]
"""An operation as OpenAPI describes it."""
Operations = Mapping[str, Mapping[str, Operation]]
"""Operations by their paths and methods (``post``, …)."""


class Listener(Protocol):
    """A listener; one more is a module with such a class, and an entry in ``app.LISTENERS``."""

    operations: ClassVar[Operations]
    """An operation for each of the routes."""
    routes: Sequence[Route]
    """Each authenticates its caller: ``Reception.connectors.identify``."""

    def __init__(self, reception: Reception) -> None:
        """Listen to nothing yet."""

    async def run(self) -> None:
        """Work unasked, until cancelled; by default there is no such work."""

    def stop(self) -> None:
        """Take no more IMs; those taken in are still answered."""
