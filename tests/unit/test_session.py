"""A worker's session with the database: another one after each failure."""

import logging
import threading

import psycopg
import pytest

from archiving.evidence import DoubtError, NoVerdictError
from archiving.session import DatabaseSession


class Session:
    """Stands in for a session with the database."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.closed = False

    def close(self) -> None:
        """Note that it was closed."""
        self.closed = True


class Opened:
    """Opens sessions, and remembers them."""

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self.failures: list[Exception] = []

    def __call__(self) -> Session:
        if self.failures:
            raise self.failures.pop(0)
        self.sessions.append(Session(len(self.sessions)))
        return self.sessions[-1]


def test_a_session_is_kept_until_something_fails_in_it() -> None:
    opened, used = Opened(), list[int]()
    session = DatabaseSession(opened)
    assert session.current is None

    def fail_once(current: Session) -> None:
        used.append(current.number)
        if len(used) == 2:
            raise psycopg.OperationalError

    outcomes = [session.attempt(fail_once) for _ in range(3)]
    assert [type(outcome) for outcome in outcomes] == [type(None), psycopg.OperationalError, type(None)]
    assert used == [0, 0, 1]
    assert [each.closed for each in opened.sessions] == [True, False]
    assert session.current is opened.sessions[1]
    session.close()
    assert opened.sessions[1].closed
    assert session.current is None


def test_a_session_that_cannot_be_opened_is_an_attempt_that_failed() -> None:
    opened = Opened()
    opened.failures = [psycopg.OperationalError()]
    session, done = DatabaseSession(opened), list[Session]()
    assert isinstance(session.attempt(done.append), psycopg.OperationalError)
    assert done == []
    assert session.persist(done.append, threading.Event(), lambda: False)
    assert done == opened.sessions


@pytest.mark.parametrize("stops", [True, False])
def test_an_action_is_given_up_only_to_stop_or_if_it_is_void(stops: bool) -> None:
    tries, stopping, void = list[int](), threading.Event(), list[bool]()

    def fail(session: Session) -> None:
        tries.append(session.number)
        if len(tries) == 3:
            stopping.set() if stops else void.append(True)
        raise DoubtError

    assert not DatabaseSession(Opened()).persist(fail, stopping, lambda: bool(void))
    assert tries == [0, 1, 2]


@pytest.mark.parametrize(
    ("error", "level", "message"),
    [
        (DoubtError("x"), "WARNING", "some of a batch can't be stored, and more evidence is needed"),
        (NoVerdictError("x"), "WARNING", "no verdict on what comes again"),
        (psycopg.OperationalError("x"), "WARNING", "database out of reach"),
        (
            psycopg.errors.ObjectNotInPrerequisiteState("x"),
            "WARNING",
            "the archive is another than before: its numbers are asked for anew",
        ),
        (KeyError("x"), "ERROR", "nothing can be stored"),
    ],
)
def test_the_log_names_the_kind_of_failure(
    caplog: pytest.LogCaptureFixture, error: Exception, level: str, message: str
) -> None:
    def fail(_: Session) -> None:
        raise error

    with caplog.at_level(logging.WARNING, "archiving"):
        DatabaseSession(Opened()).attempt(fail)
    [record] = caplog.records
    assert (record.levelname, record.getMessage()) == (level, message)
