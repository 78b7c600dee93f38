"""The connectors that may hand IMs to this front end."""

from collections.abc import Iterable

from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import Scope

from frontend.agent import RETRY_AFTER
from runtime.json_text import check_headers
from runtime.problem import Problem
from runtime.question import check_query, check_single
from runtime.security import SecurityLog
from runtime.token import Connector, bearer_of, by_hash, find_caller, hash_token


class Connectors:
    """The chat systems that have a token."""

    def __init__(self, pool: str, connectors: Iterable[Connector]) -> None:
        """``pool``: this front end's. Raises ValueError if two connectors have one token."""
        self._pool = pool
        self._connectors = by_hash(connectors)
        self._stopping = False
        self.security = SecurityLog("frontend")

    @property
    def count(self) -> int:
        """The number of connectors of this pool."""
        return len({each.name for each in self._connectors.values() if each.pool == self._pool})

    def stop(self) -> None:
        """Refuse all callers from now on (503)."""
        self._stopping = True

    def find(self, scope: Scope) -> Connector | None:
        """Return the connector whose token a request bears; None if it bears none of this pool."""
        token = bearer_of(Headers(scope=scope).get("authorization"))
        connector = None if token is None else self._connectors.get(hash_token(token))
        return connector if connector is not None and connector.pool == self._pool else None

    def identify(self, request: Request) -> Connector:
        """Return the connector that calls.

        Raises Problem: 401 without a token that we know, 403 if it is another pool's, 415 if the request is
        compressed or not in UTF-8, 422 with a query or a header twice, 503 once stopped.
        """
        if self._stopping:
            raise Problem(503, "this front end stops: send it to another", headers=RETRY_AFTER)
        connector = find_caller(self._connectors, request.headers.get("authorization"))
        if connector is None:
            raise Problem(
                401,
                "send a connector's token: Authorization: Bearer …",
                headers={"WWW-Authenticate": "Bearer"},
            )
        if connector.pool != self._pool:
            raise Problem(
                403, f"connector {connector.name!r} is of {connector.pool}, this front end is of {self._pool}"
            )
        check_headers(request.headers)
        check_single(request.scope["headers"])
        check_query(request.scope["query_string"], {})
        return connector
