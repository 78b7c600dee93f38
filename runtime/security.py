"""The security log: each refused login and access, with caller and address.

A stranger can be refused a million times an hour: a source gets some lines a minute, the rest is summed up.
"""

import asyncio
import logging
from collections import Counter
from contextvars import Context
from typing import Any, Final

import prometheus_client
from starlette.routing import Match
from starlette.types import Scope

from runtime.current_request import CURRENT

log = logging.getLogger("security")

REFUSALS: Final = prometheus_client.Counter(
    "lcs_security_refusals", "Requests and IMs of streams that were refused", ("service", "kind")
)
KINDS: Final = {401: "login", 403: "access"}
_SECONDS: Final = 60.0
_LINES: Final = 10
"""Of one source, in that time."""
_LINES_OF_ALL: Final = 300
"""Of strangers, and as many of known callers: a known caller cannot hide behind strangers' noise."""
_SOURCES: Final = 300
"""Sources that are counted one by one, of either."""
_OTHERS: Final = "others"

Source = tuple[str, str, str]
"""Kind, client's address, and caller's name."""


class _Tally:
    """Lines of this minute."""

    def __init__(self) -> None:
        self._came = Counter[Source]()
        self._written = Counter[Source]()

    def add(self, kind: str, host: str, caller: str) -> bool:
        """Count a refusal; return whether it has a line of its own."""
        source = (kind, host, caller)
        if source not in self._came and len(self._came) >= _SOURCES:
            source = (kind, _OTHERS, caller)
        self._came[source] += 1
        if self._written[source] >= _LINES or self._written.total() >= _LINES_OF_ALL:
            return False
        self._written[source] += 1
        return True

    def unwritten(self) -> Counter[Source]:
        """Return the refusals that got no line."""
        return self._came - self._written


class SecurityLog:
    """Logs the requests that a service refuses."""

    def __init__(self, service: str) -> None:
        """``service`` stands in each line and in the metric."""
        self._service = service
        self._strangers, self._known = _Tally(), _Tally()
        self._summing: asyncio.TimerHandle | None = None
        for kind in KINDS.values():
            REFUSALS.labels(service, kind)  # counted from zero

    def refuse(self, scope: Scope, status: int, why: str = "") -> None:
        """Write that a request is refused; ``why``: if it is not its answer that says it.

        Called in the loop, while the request is served.
        """
        kind = KINDS[status]
        REFUSALS.labels(self._service, kind).inc()
        request = CURRENT.get()
        caller = "" if request is None else request.caller
        host, port = scope.get("client") or ("", 0)
        if self._summing is None:
            loop = asyncio.get_running_loop()
            self._summing = loop.call_later(_SECONDS, self.sum_up, context=Context())
        if not (self._known if caller else self._strangers).add(kind, host, caller):
            return
        fields: dict[str, Any] = {
            "by": self._service,
            "kind": kind,
            "caller": caller,
            "token": "" if request is None else request.token,
            "client": host,
            "port": port,
            "method": scope["method"],
            "route": _route_of(scope),
            "why": why or ("" if request is None else request.reason),
        }
        log.warning("refused", extra={name: value for name, value in fields.items() if value})

    def sum_up(self) -> None:
        """Log how often each source was refused without a line of its own; count anew."""
        if self._summing is not None:
            self._summing.cancel()
            self._summing = None
        unwritten = self._strangers.unwritten() + self._known.unwritten()
        self._strangers, self._known = _Tally(), _Tally()
        for (kind, host, caller), count in unwritten.items():
            fields = {"by": self._service, "kind": kind, "caller": caller, "client": host, "more": count}
            log.warning("refused more often", extra={name: value for name, value in fields.items() if value})


def _route_of(scope: Scope) -> str:
    """Return the route's template: the path itself holds callers' texts."""
    route = scope.get("route")
    if route is None and "endpoint" in scope:  # Starlette's own routes don't say which they are
        routes = scope["router"].routes
        route = next((each for each in routes if each.matches(scope)[0] is Match.FULL), None)
    return str(getattr(route, "path", "none"))
