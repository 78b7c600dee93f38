"""A trial: messages that may have killed a worker are stored by a child process. If it dies, they did it.

The broker counts how often a message was given out and came back unacknowledged. One that comes for the third
time may have ended two workers, or have waited beside one that did: only a trial can tell.
"""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

import msgspec
import psycopg

from archiving.archive import Archive
from archiving.batch import read_batch
from archiving.config import StoreSettings
from archiving.consumer import Delivery
from archiving.metrics import COMMITTED, DUPLICATES, PARKED
from archiving.parking import describe, properties_of
from archiving.storing import Counts, Settlement
from archiving.trace import Trace

log = logging.getLogger("archiving")

COMMAND: Final = "trial"
_SECONDS: Final = 120.0
_AWAY: Final = os.EX_TEMPFAIL
"""The child's exit code when the database is away."""
_NO_VERDICT: Final = (_AWAY, -signal.SIGINT, -signal.SIGTERM)
"""Exit codes that say nothing of the messages."""


class _Message(msgspec.Struct):
    body: bytes
    properties: str
    parked: bool
    consumed: float


class NoVerdictError(Exception):
    """The trial was cut short: the database was away, or somebody ended it."""


def find_killers(deliveries: Sequence[Delivery]) -> list[tuple[Delivery, str]]:
    """Have a child process store messages; return those that kill it, each with how. The others are stored.

    Raises NoVerdictError: then nothing is known.
    """
    how = _try(deliveries)
    if not how:
        return []
    if len(deliveries) == 1:
        return [(deliveries[0], how)]
    middle = len(deliveries) // 2
    return find_killers(deliveries[:middle]) + find_killers(deliveries[middle:])


def _try(deliveries: Sequence[Delivery]) -> str:
    messages = [
        _Message(each.body, describe(each.properties), each.parked, each.consumed) for each in deliveries
    ]
    try:
        child = subprocess.run(
            [sys.executable, "-m", "archiving", COMMAND],
            input=msgspec.msgpack.encode(messages),
            stdout=subprocess.PIPE,
            timeout=_SECONDS,
            check=False,
            start_new_session=True,  # a Ctrl-C that ends the worker is not its doing
        )
    except subprocess.TimeoutExpired:
        raise NoVerdictError from None  # a lock, most likely
    if child.returncode in _NO_VERDICT:
        raise NoVerdictError
    if child.returncode != os.EX_OK:
        return f"exit code {child.returncode}"
    counts = msgspec.json.decode(child.stdout, type=Counts)  # nobody reads the counters of a process so short
    COMMITTED.inc(counts.committed)
    DUPLICATES.inc(counts.duplicates)
    PARKED.inc(counts.parked)
    return ""


def run_trial(settings: StoreSettings) -> int:
    """Store the messages on standard input, tell their counts on standard output; return the exit code."""
    messages = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=list[_Message])
    deliveries = [
        Delivery(
            0, 0, properties_of(msgspec.json.decode(each.properties)), each.body, each.parked, each.consumed
        )
        for each in messages
    ]
    try:
        archive = Archive(settings.database_url)
        counts = Settlement(read_batch(deliveries, settings.senders), deliveries, Trace()).settle(archive)
    except psycopg.Error as error:
        log.warning("database out of reach", extra={"error": repr(error)[:300]})
        return _AWAY
    sys.stdout.buffer.write(msgspec.json.encode(counts))
    return os.EX_OK
