"""Sessions with the database ``lcslog``, and the answers to requests that it could not serve."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import errors
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlmodel import Session

from runtime.problem import Problem

log = logging.getLogger("admin-api")

UNAVAILABLE = (OperationalError, InterfaceError, PoolTimeoutError)
"""Errors of a database that is away, or too busy to answer in time."""

_OPTIONS = " ".join(
    f"-c {setting}"
    for setting in (
        "timezone=UTC",
        "statement_timeout=30s",
        "lock_timeout=10s",
        # Whoever stops reading what is streamed must not keep a session for good.
        "idle_in_transaction_session_timeout=60s",
        "jit=off",  # it costs more than such short queries take
    )
)


class Database:
    """The pool of sessions. It connects when first used, and again after the database was away."""

    def __init__(self, url: str, sessions: int = 2) -> None:
        """``url``: ``postgresql://…`` of the role ``lcs_admin``; ``sessions``: at most."""
        self._engine = create_engine(
            make_url(url).set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,
            pool_size=sessions,
            max_overflow=1,
            pool_timeout=5,
            connect_args={
                "connect_timeout": 5,
                "options": _OPTIONS,
                # Never a generic plan: only with the values at hand are a search's partitions pruned.
                "prepare_threshold": None,
            },
        )
        self._snapshots = self._engine.execution_options(isolation_level="REPEATABLE READ")

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Yield a session of one transaction: committed at the end, rolled back if anything is raised."""
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """Yield a session that sees everything as it was at its first query."""
        with Session(self._snapshots, expire_on_commit=False) as session, session.begin():
            yield session

    def is_ready(self) -> bool:
        """Return whether the database answers."""
        try:
            with self.transaction() as session:
                session.connection().execute(text("SELECT 1"))
        except UNAVAILABLE:
            return False
        return True

    def close(self) -> None:
        """End all sessions that are not in use."""
        self._engine.dispose()


def unavailable(error: Exception) -> Problem:
    """Return the answer to a request that the database could not serve: 503, or 422 if it never can.

    ``error``: one of ``UNAVAILABLE``.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    # The class only: an error's text may quote what the statement was about.
    log.warning("the database could not serve a request", extra={"error": type(cause).__name__})
    if isinstance(cause, errors.ProgramLimitExceeded):
        return Problem(422, "It is larger than the database can hold. Nothing was changed.")
    if isinstance(cause, errors.LockNotAvailable):
        detail = "Another change of policy is under way. Nothing was changed; try again."
    elif isinstance(cause, errors.QueryCanceled):
        detail = "The database took too long. Nothing was changed; try again later."
    else:
        detail = "The database is out of reach. Try again later."
    return Problem(503, detail, headers={"Retry-After": "5"})
