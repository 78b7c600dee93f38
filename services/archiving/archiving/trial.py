"""A trial: a child process stores messages that may have ended workers. If it dies, they did it.

The broker counts how often a message was handed out and came back unacknowledged. One that comes for the
third time may have ended two workers, or have waited beside one that did: only a trial can tell. The child
stores one message after the other, and reports when it begins and is done with each. A message is guilty if
two children began it and were not done with it, the second with this message alone. A child that cannot
begin, for any cause, proves nothing of the messages.
"""

import contextlib
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from archiving.archive import Archive
from archiving.config import StoreSettings
from archiving.delivery import Delivery
from archiving.evidence import DoubtError, NoVerdictError
from archiving.journal import Journal
from archiving.metrics import COMMITTED, DUPLICATES, PARKED
from archiving.parked.parking import describe, properties_of
from archiving.session import DatabaseSession
from archiving.storing import Counts, Settlement

log = logging.getLogger("archiving")

COMMAND: Final = "trial"
_SECONDS: Final = 120.0
"""Seconds of silence after which a child hangs."""
_AWAY_SECONDS: Final = 30.0
"""Seconds after which a child gives up if the database stores nothing."""
_PAUSE: Final = 0.5
_AWAY: Final = os.EX_TEMPFAIL
"""The child's exit code then."""
_NO_VERDICT: Final = (_AWAY, -signal.SIGINT, -signal.SIGTERM)
"""Exit codes that prove nothing of the messages."""
_BEGIN: Final = b"begin"
_DONE: Final = b"done "


class _Message(msgspec.Struct):
    body: bytes
    properties: str
    given_up: bool
    consumed: float


def find_killers(
    deliveries: Sequence[Delivery], rehearse: Callable[[Delivery], object]
) -> list[tuple[Delivery, str]]:
    """Have child processes store messages; return those that end them, each with how. The others are stored.

    ``rehearse`` raises if a message like one could not be stored now: then one that hangs is not to blame.
    Raises NoVerdictError: then nothing is known, and some may be stored.
    """
    killers = []
    rest = list(deliveries)
    while rest:
        done, how = _try(rest, rehearse)
        rest = rest[done:]
        if how:
            log.warning("a message may end who stores it: it is tried alone", extra={"how": how})
            _, how = _try(rest[:1], rehearse)
            if how:
                killers.append((rest[0], how))
            rest = rest[1:]
    return killers


def _try(deliveries: Sequence[Delivery], rehearse: Callable[[Delivery], object]) -> tuple[int, str]:
    """Return how many messages a child stored, and how it ended in the midst of the next; "" if it didn't."""
    done, begun = 0, False
    try:
        with _child(deliveries) as child:
            for line in _lines_of(child):
                if line == _BEGIN:
                    begun = True
                elif line.startswith(_DONE):
                    begun = False
                    _count(line.removeprefix(_DONE))
                    done += 1
            how = (
                f"exit code {code}" if (code := child.poll()) is not None else f"silent for {_SECONDS:.0f} s"
            )
            if code is None and begun:
                rehearse(deliveries[done])
    except Exception as error:  # it can't be made, or nothing can be stored
        raise NoVerdictError(str(error) or repr(error)) from error
    if done == len(deliveries):
        return done, ""
    if not begun or code in _NO_VERDICT:
        raise NoVerdictError(f"the child process did not fail in a message: {how}")
    return done, how


@contextlib.contextmanager
def _child(deliveries: Sequence[Delivery]) -> "Iterator[subprocess.Popen[bytes]]":
    """Run a child process that stores messages; kill it at the end. Raises OSError."""
    messages = [
        _Message(each.body, describe(each.properties), each.given_up, each.consumed) for each in deliveries
    ]
    with os.fdopen(os.memfd_create("trial"), "w+b") as file:
        file.write(msgspec.msgpack.encode(messages))
        file.seek(0)
        child = subprocess.Popen(
            [sys.executable, "-m", "archiving", COMMAND],
            stdin=file,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C that ends the worker is not its doing
        )
    with child:
        try:
            yield child
        finally:
            child.kill()


def _lines_of(child: "subprocess.Popen[bytes]") -> Iterator[bytes]:
    """Yield a child's lines, until it ends or is silent for long."""
    assert child.stdout is not None
    rest = b""
    while select.select([child.stdout], [], [], _SECONDS)[0]:
        read = os.read(child.stdout.fileno(), 1 << 16)
        if not read:
            child.wait(_SECONDS)
            return
        *lines, rest = (rest + read).split(b"\n")
        yield from lines


def _count(counts: bytes) -> None:
    """Add a child's counts to this process's counters, which outlive the child."""
    committed, duplicates, parked = msgspec.json.decode(counts, type=Counts)
    COMMITTED.inc(committed)
    DUPLICATES.inc(duplicates)
    PARKED.inc(parked)


def run_trial(settings: StoreSettings) -> int:
    """Store the messages on standard input, report on standard output; return the exit code."""
    messages = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=list[_Message])
    session = DatabaseSession(lambda: Archive(settings.database_url))
    if not _persist(session, lambda archive: archive.rehearse()):
        return _AWAY
    for each in messages:
        _report(_BEGIN)
        properties = properties_of(msgspec.json.decode(each.properties))
        delivery = Delivery(0, 0, properties, each.body, each.given_up, each.consumed)
        settlement = Settlement(settings.senders, [delivery], Journal())
        if not _persist(session, settlement.settle):
            return _AWAY
        _report(_DONE + msgspec.json.encode(settlement.counts))
    return os.EX_OK


def _report(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def _persist(session: DatabaseSession[Archive], action: Callable[[Archive], object]) -> bool:
    """Attempt an action until it succeeds; return False if nothing can be stored for long."""
    over = time.monotonic() + _AWAY_SECONDS
    while (error := session.attempt(action)) is not None:
        if isinstance(error, DoubtError):
            over = time.monotonic() + _AWAY_SECONDS
        elif time.monotonic() >= over:
            return False
        time.sleep(_PAUSE)
    return True
