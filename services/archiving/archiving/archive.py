"""The database side: one transaction stores a batch of IMs, and notes their numbers as archived."""

import base64
import contextlib
import logging
import os
from collections.abc import Iterable, Sequence
from datetime import UTC
from typing import Final, NamedTuple
from uuid import UUID, uuid4

import psycopg
from pika.spec import BasicProperties

from archiving.numbers import Numbers
from archiving.parked.parking import Parked, park
from archiving.parked.replay import Replays
from archiving.ranges import NumberRange, ranges_of
from archiving.rows import COLUMNS, join_rows
from contract.message import IM, MAX_SEQ, AgentStatement, make_id, milliseconds_of, time_of

log = logging.getLogger("archiving")

_APPEND: Final = f"COPY archive.messages ({', '.join(COLUMNS)}) FROM STDIN (FORMAT BINARY)"
_HOLD: Final = "archive.hold_incarnation(%s)"
_LOG_BATCH: Final = "archive.log_batch(%s, %s, %s, %s::float8, %s::float8, %s::json)"
_LOG_NUMBERS: Final = (
    f"SELECT {_HOLD},"
    " archive.log_numbers(%s::int[], %s::text[]::int8multirange[], %s::text[]::int8multirange[]),"
    f" {_LOG_BATCH}"
)
_LOG_AGENT: Final = f"SELECT {_HOLD}, archive.log_agent(%s, %s, %s::bigint, %s, %s, %s::text::int8multirange)"
_COMPARE: Final = f"COPY pg_temp.batch ({', '.join(COLUMNS)}) FROM STDIN (FORMAT BINARY)"
_LOG_MESSAGES: Final = (
    "SELECT logged.inserted, logged.conflicting_agent_ids, logged.conflicting_seqs"  # noqa: S608 - names of our own
    f" FROM {_HOLD}, archive.log_messages("
    "%s, %s::int[], %s::text[]::int8multirange[], %s::text[]::int8multirange[]) AS logged"
)
_REHEARSED: Final = "rehearsal"
"""Pool and rule of an IM that is only rehearsed, where those of another aren't known."""
_NAME_REHEARSED: Final = (
    "SELECT archive.intern('pools', ARRAY[%(name)s]), archive.intern('rules', ARRAY[%(name)s]),"
    " archive.intern('content_types', ARRAY['text/plain'])"
)
"""Were they new to each rehearsal, which is taken back, it would use up one of their 32,767 numbers."""
_MAX_REHEARSED: Final = 1 << 20
"""Bytes of the text of an IM that is only rehearsed, at most."""
_LOCK_TIMEOUT: Final = (
    "SELECT set_config('lock_timeout', '10s', true) WHERE current_setting('lock_timeout') = '0'"
)
Account = tuple[list[int], list[str], list[str]]
"""Agents' numbers and, beside each, the ranges archived and parked as multirange literals."""


class ConflictError(Exception):
    """Raised when the archive has ids of the batch with another content. Nothing of the batch was stored."""

    def __init__(self, ims: list[IM]) -> None:
        super().__init__(f"{len(ims)} ids are archived already with another content")
        self.ims = ims


class BatchEntry(NamedTuple):
    """A batch's line in the journal; times in seconds since 1970."""

    worker: str
    number: int
    ims: int
    last_committed: float | None
    """Time at which the worker's batch before this one was committed; None if unknown."""
    last_acknowledged: float | None
    publishes: str
    """Its publishes as the JSON that ``archive.log_batch()`` takes."""


class Archive(Replays):
    """A worker's two sessions with the database ``lcslog``: one stores, one numbers names.

    Numbers are valid in the incarnation of the archive that gave them. In another, restored from a backup,
    each method that takes numbers raises psycopg.errors.ObjectNotInPrerequisiteState and stores nothing. A
    new Archive has the numbers of the present incarnation.
    """

    def __init__(self, url: str) -> None:
        """``url``: the worker's role; connects at once.

        Raises psycopg.Error if the database is away or lacks a column of ``rows.COLUMNS``.
        """
        with contextlib.ExitStack() as opened:
            session = opened.enter_context(contextlib.closing(connect(url)))
            self.numbers = Numbers(session)
            connection = connect(url)
            opened.callback(connection.close)
            super().__init__(connection, "im")
            self._connection.execute("SELECT archive.open_batch(%s::text[])", [list(COLUMNS)])
            self._connection.execute("SELECT archive.begin_era()")
            self._connection.execute(_NAME_REHEARSED, {"name": _REHEARSED})
            opened.pop_all()

    def close(self) -> None:
        """Close both sessions. Other threads may be using ``numbers``."""
        self._connection.close()
        self.numbers.close()

    def ensure_partitions(self) -> int:
        """Create the partitions of the coming months; return how many months have none.

        Raises psycopg.Error.
        """
        row = self._connection.execute("SELECT archive.ensure_partitions()").fetchone()
        assert row is not None
        for why in row[0]:
            log.warning("a month has no partition", extra={"error": why})
        return len(row[0])

    def append(self, rows: bytes, account: Account, entry: BatchEntry) -> None:
        """Store new IMs in one transaction: the fast way, which nearly every batch takes.

        ``rows`` are packed by ``numbers``; ``entry`` goes into the journal. Raises
        psycopg.errors.UniqueViolation if the archive has one of the IMs, and the errors of ``store``; then
        nothing is stored.
        """
        with self._connection.transaction(), self._connection.cursor() as cursor:
            with cursor.copy(_APPEND) as copy:
                copy.write(rows)
            cursor.execute(_LOG_NUMBERS, (self.numbers.incarnation, *account, *entry), prepare=True)

    def store(self, ims: Sequence[IM], parked: Sequence[NumberRange] = ()) -> int:
        """Store IMs of which the archive may have some, in one transaction: the careful way.

        Return how many were new. ``parked`` are ranges to count as parked. Raises ConflictError,
        psycopg.Error, and for an IM that cannot be a row ValueError or struct.error; then nothing is stored.
        """
        rows = join_rows(self.numbers.pack(ims))
        account = self.account(ranges_of(ims), parked)
        with self._connection.transaction():
            inserted, agent_ids, seqs = self._compare(rows, len(ims), account)
            if agent_ids:
                conflicting = set(zip(agent_ids, seqs, strict=True))
                number_of = self.numbers.number_of
                raise ConflictError(
                    [im for im in ims if (number_of(im.agent, im.pool), im.seq) in conflicting]
                )
            return int(inserted)

    def _compare(self, rows: bytes, ims: int, account: Account) -> tuple[int, list[int], list[int]]:
        with self._connection.cursor() as cursor:
            if ims:
                with cursor.copy(_COMPARE) as copy:
                    copy.write(rows)
            cursor.execute(_LOG_MESSAGES, [self.numbers.incarnation, ims, *account], prepare=True)
            result = cursor.fetchone()
            assert result is not None
            return result

    def rehearse(
        self, ims: Sequence[IM] = (), agents: Iterable[tuple[UUID, str]] = (), size: int = 0
    ) -> None:
        """Store a faultless IM in all the ways of a batch, and roll back. Raises any error of that.

        The IM has ``size`` bytes, or as many as the longest of ``ims``. If ``ims`` is one IM, it is of that
        IM's month. The rows of agents, those of ``ims`` and of ``agents`` with their pools, are locked if
        they can exist. So a rehearsal needs the same locks and the same space on disk, for which no IM is to
        blame.
        """
        self.numbers.check()
        locked: list[int] = []
        for agent in {*agents, *((im.agent, im.pool) for im in ims)}:
            try:
                locked.append(self.numbers.number_of(*agent))
            except psycopg.errors.LockNotAvailable:
                raise
            except Exception as error:  # it is the IM's fault, also if it ends the session of names
                log.debug("no such agent can be", extra={"error": repr(error)[:200]})
        size = max((size, *(len(im.body) for im in ims)))
        named = (ims[0].pool, ims[0].rule) if ims else ("", "")
        if not self.numbers.knows(*named):
            named = _REHEARSED, _REHEARSED
        im = _rehearsed(ims, min(size, _MAX_REHEARSED), *named)
        with self._connection.transaction(force_rollback=True):
            self._connection.execute(_LOCK_TIMEOUT)
            names = Numbers(self._connection)  # of its own: what is taken back must not be remembered
            rows = join_rows(names.pack([im]))
            numbers = [names.number_of(im.agent, im.pool), *locked]
            nothing = ["{}"] * len(numbers)
            account = (numbers, ["{[1,1]}", *nothing[1:]], nothing)
            with self._connection.cursor() as cursor:
                with cursor.copy(_APPEND) as copy:
                    copy.write(rows)
                entry = BatchEntry(str(im.id), 0, 1, None, None, "[]")
                cursor.execute(_LOG_NUMBERS, (self.numbers.incarnation, *account, *entry), prepare=True)
            self._compare(rows, 1, account)
            self._connection.execute(_LOG_AGENT, [names.incarnation, numbers[0], "", 1, None, None, "{}"])
            parked = Parked(im.body.encode(), BasicProperties(), str(im.id), None)
            park(self._connection, parked, quiet=True)

    def park(self, parked: Parked) -> None:
        """Store an IM or message as parked. Raises psycopg.Error."""
        park(self._connection, parked)

    def count_parked(self) -> tuple[int, bool]:
        """Return how many IMs are parked, and whether a replay of some is requested."""
        row = self._connection.execute("SELECT parked_ims, replaying FROM archive.count_parked()").fetchone()
        assert row is not None
        return int(row[0]), row[1] > 0

    def request_replay(self, who: str, why: str) -> int:
        """Request a replay of all parked IMs and records; return how many there are."""
        row = self._connection.execute("SELECT archive.request_replay(NULL, %s, %s)", [who, why]).fetchone()
        assert row is not None
        return int(row[0])

    def log_batch(self, entry: BatchEntry) -> None:
        """Store a batch's entry in the journal. Raises psycopg.Error."""
        self._connection.execute(f"SELECT {_HOLD}, {_LOG_BATCH}", (self.numbers.incarnation, *entry))

    def log_reading(self, seconds: float) -> None:
        """Store that the queue has been read up to so many seconds ago. Raises psycopg.Error."""
        self._connection.execute("SELECT archive.log_reading(%s)", [seconds])

    def forget_traces(self, days: int, most: int) -> int:
        """Delete up to ``most`` rows of the journal that are older than ``days``; return how many."""
        row = self._connection.execute("SELECT archive.forget_traces(%s, %s)", [days, most]).fetchone()
        assert row is not None
        return int(row[0])

    def log_agent(self, statement: AgentStatement) -> None:
        """Store an agent's statement of how far it got.

        Raises ValueError for a number that no agent reaches, OverflowError for a time outside the years 1 to
        9999 in UTC, which could not be read again.
        """
        if not 0 <= statement.confirmed <= MAX_SEQ:
            raise ValueError(f"its number {statement.confirmed} is out of bounds")
        for at in (statement.at, statement.confirmed_at or statement.at):
            at.astimezone(UTC)
        for first, last in statement.uncounted:
            NumberRange(statement.agent, statement.pool, first, last).check()
        self._connection.execute(
            _LOG_AGENT,
            [
                self.numbers.incarnation,
                self.numbers.number_of(statement.agent, statement.pool),
                statement.front_end,
                statement.confirmed,
                statement.confirmed_at,
                statement.at if statement.ended else None,
                "{" + ",".join(f"[{first},{last}]" for first, last in statement.uncounted) + "}",
            ],
        )

    def expect(self, numbers: NumberRange) -> None:
        """Store that an agent numbered IMs so far: those that never come are missing."""
        numbers.check()
        agent = self.numbers.number_of(numbers.agent, numbers.pool)
        self._connection.execute(
            _LOG_AGENT, [self.numbers.incarnation, agent, None, numbers.last, None, None, "{}"]
        )

    def account(self, archived: Iterable[NumberRange], parked: Iterable[NumberRange] = ()) -> Account:
        """Return ranges of numbers, archived and parked, by the agents' numbers in the archive.

        Raises psycopg.Error, ValueError for numbers that no agent reaches.
        """
        ranges: dict[int, tuple[list[str], list[str]]] = {}
        for place, some in enumerate((archived, parked)):
            for numbers in some:
                numbers.check()
                agent = self.numbers.number_of(numbers.agent, numbers.pool)
                ranges.setdefault(agent, ([], []))[place].append(f"[{numbers.first},{numbers.last}]")
        return (
            list(ranges),
            ["{" + ",".join(archived) + "}" for archived, _ in ranges.values()],
            ["{" + ",".join(parked) + "}" for _, parked in ranges.values()],
        )


def connect(url: str) -> psycopg.Connection:
    """Return a session in autocommit. Raises psycopg.OperationalError."""
    return psycopg.connect(
        url,
        autocommit=True,
        connect_timeout=5,
        # A host that vanished is noticed in half a minute, not in two hours.
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=3,
        tcp_user_timeout=30_000,
    )


def _rehearsed(ims: Sequence[IM], size: int, pool: str, rule: str) -> IM:
    """Return a faultless IM like others."""
    im_id = make_id()
    if len(ims) == 1:
        with contextlib.suppress(ValueError):
            time_of(ims[0].id)
            im_id = make_id(milliseconds_of(ims[0].id))
    return IM(
        id=im_id,
        sent_at=time_of(im_id),
        sender=f"sip:{im_id}@invalid",
        recipients=("sip:rehearsal@invalid",),
        conversation=str(im_id),
        scope="internal",
        content_type="text/plain",
        encoding="text",
        body=base64.b64encode(os.urandom(size)).decode()[:size],
        pool=pool,
        agent=uuid4(),
        seq=1,
        policy_version=1,
        rule=rule,
    )
