"""The database side: one transaction stores a batch of IMs, and notes their numbers as archived."""

import contextlib
import logging
import struct
from collections.abc import Generator, Iterable, Sequence
from typing import Final, NamedTuple
from uuid import UUID

import psycopg

from archiving.names import Names
from archiving.parking import Parked, Replays, park, storable
from archiving.rows import COLUMNS, join_rows
from contract.message import IM, AgentStatement

log = logging.getLogger("archiving")

POISON: Final = (
    ValueError,
    struct.error,
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.ProgramLimitExceeded,  # too large for an index, say
)
"""Errors that lie in an IM itself: they would come again for ever. All others pass, so nothing is parked."""

_APPEND: Final = f"COPY archive.messages ({', '.join(COLUMNS)}) FROM STDIN (FORMAT BINARY)"
_HOLD: Final = "archive.hold_incarnation(%s)"
_LOG_BATCH: Final = "archive.log_batch(%s, %s, %s, %s::float8, %s::float8, %s::json)"
_LOG_NUMBERS: Final = (
    f"SELECT {_HOLD},"
    " archive.log_numbers(%s::int[], %s::text[]::int8multirange[], %s::text[]::int8multirange[]),"
    f" {_LOG_BATCH}"
)
_COMPARE: Final = f"COPY pg_temp.batch ({', '.join(COLUMNS)}) FROM STDIN (FORMAT BINARY)"
_LOG_MESSAGES: Final = (
    f"SELECT logged.* FROM {_HOLD}, archive.log_messages("  # noqa: S608 - names of our own
    "%s, %s::int[], %s::text[]::int8multirange[], %s::text[]::int8multirange[]) AS logged"
)
Account = tuple[list[int], list[str], list[str]]
"""Agents' numbers and, beside each, the ranges archived and parked as multirange literals."""


class ConflictError(Exception):
    """IMs whose ids the archive knows with another content. Nothing of the batch was stored."""

    def __init__(self, ims: list[IM]) -> None:
        """``ims``: those of the batch that conflict."""
        super().__init__(f"{len(ims)} ids are archived already with another content")
        self.ims = ims


class Numbers(NamedTuple):
    """Some of an agent's numbers, from ``first`` to ``last``."""

    agent: UUID
    pool: str
    first: int
    last: int


class BatchEntry(NamedTuple):
    """What the archive notes of a batch for the trace; times in seconds since 1970."""

    worker: str
    number: int
    ims: int
    last_committed: float | None
    """When the worker's batch before this one was; None if nobody knows."""
    last_acknowledged: float | None
    came: str
    """JSON of its publishes."""


class Archive(Replays):
    """What one worker has with the database ``lcslog``: a session that stores, and one that numbers names.

    Numbers are good in the incarnation of the archive that gave them. In another, restored from a backup,
    what takes any raises psycopg.errors.ObjectNotInPrerequisiteState and stores nothing: an Archive made
    anew knows the numbers of now.
    """

    def __init__(self, url: str) -> None:
        """``url``: the worker's role; connects at once.

        Raises psycopg.Error, none of POISON, if the database is away or lacks a column of ``rows.COLUMNS``.
        """
        with contextlib.ExitStack() as opened:
            session = opened.enter_context(contextlib.closing(connect(url)))
            self.names = Names(session)
            connection = connect(url)
            opened.callback(connection.close)
            super().__init__(connection, "im")
            self._connection.execute("SELECT archive.open_batch(%s::text[])", [list(COLUMNS)])
            self._connection.execute("SELECT archive.begin_era()")
            opened.pop_all()

    def close(self) -> None:
        """End the sessions. Other threads may be at ``names``."""
        self._connection.close()
        self.names.close()

    def ensure_partitions(self) -> None:
        """Make the partitions of the months to come; say which months have none, for the default one has all.

        Raises psycopg.Error if the database is not at our service.
        """
        row = self._connection.execute("SELECT archive.ensure_partitions()").fetchone()
        assert row is not None
        for why in row[0]:
            log.warning("a month has no partition", extra={"error": why})

    def append(self, rows: bytes, account: Account, entry: BatchEntry) -> None:
        """Store IMs of which the archive knows none, in one transaction: nearly always it doesn't.

        ``rows`` as ``names`` packs them; ``entry`` goes to the trace. Raises psycopg.errors.UniqueViolation
        if it does know one, and as ``store``; then nothing is stored.
        """
        with self._storing() as cursor:
            with cursor.copy(_APPEND) as copy:
                copy.write(rows)
            cursor.execute(_LOG_NUMBERS, (self.names.incarnation, *account, *entry), prepare=True)

    def store(self, ims: Sequence[IM], parked: Sequence[Numbers] = ()) -> int:
        """Store IMs once each, in one transaction; return how many were new when it is committed.

        ``parked`` are numbers to account for as parked. Raises ConflictError, ValueError for an IM that
        cannot be a row, psycopg.DataError and psycopg.IntegrityError for one the database refuses, and
        other psycopg errors when the database is not at our service; then nothing is stored.
        """
        rows = join_rows(self.names.pack(ims))
        account = self.account(runs_of(ims), parked)
        with self._storing() as cursor:
            if ims:
                with cursor.copy(_COMPARE) as copy:
                    copy.write(rows)
            cursor.execute(_LOG_MESSAGES, [self.names.incarnation, len(ims), *account], prepare=True)
            result = cursor.fetchone()
            assert result is not None
            inserted, agent_ids, seqs = result
            if agent_ids:
                conflicting = set(zip(agent_ids, seqs, strict=True))
                number_of = self.names.number_of
                raise ConflictError(
                    [im for im in ims if (number_of(im.agent, im.pool), im.seq) in conflicting]
                )
            return int(inserted)

    @contextlib.contextmanager
    def _storing(self) -> Generator[psycopg.Cursor]:
        """A transaction that stores. Raises SerializationFailure if it is to be done again as it is."""
        try:
            with self._connection.transaction(), self._connection.cursor() as cursor:
                yield cursor
        except psycopg.errors.CheckViolation as error:
            # A table's has a name, a partition's has none: rows were on their way to the default partition
            # while somebody attached their month's.
            if error.diag.constraint_name is None:
                raise psycopg.errors.SerializationFailure(str(error)) from error
            raise

    def store_what_can_be(self, ims: list[IM]) -> tuple[int, list[tuple[IM, str]]]:
        """Store IMs, by halves where the database refuses some.

        Returns how many were new, and those refused with reasons. Raises psycopg's errors, other than those
        that lie in an IM, when the database is not at our service.
        """
        if not ims:
            return 0, []
        try:
            return self.store(ims), []
        except ConflictError as conflict:
            refused = [(im, "its id is archived already with another content") for im in conflict.ims]
            rest = [im for im in ims if not any(im is other for other in conflict.ims)]
            halves = [rest]
        except POISON as error:
            if len(ims) == 1:
                return 0, [(ims[0], f"cannot be stored: {error}")]
            refused = []
            halves = [ims[: len(ims) // 2], ims[len(ims) // 2 :]]
        inserted = 0
        for half in halves:
            new, further = self.store_what_can_be(half)
            inserted, refused = inserted + new, refused + further
        return inserted, refused

    def park(self, parked: Parked) -> None:
        """Keep what can't be stored. Raises psycopg.Error."""
        park(self._connection, parked)

    def count_parked(self) -> tuple[int, bool]:
        """Return how many IMs are parked, and whether a replay of some was asked for."""
        row = self._connection.execute("SELECT parked_ims, replaying FROM archive.count_parked()").fetchone()
        assert row is not None
        return int(row[0]), row[1] > 0

    def request_replay(self, who: str, why: str) -> int:
        """Ask for a replay of all that is parked; return how much that is."""
        row = self._connection.execute("SELECT archive.request_replay(NULL, %s, %s)", [who, why]).fetchone()
        assert row is not None
        return int(row[0])

    def end_replay(self, number: int, failure: str | None) -> None:
        """See ``Replays``. In another incarnation of the archive the number may be another's."""
        reason = None if failure is None else storable(failure)
        self._connection.execute(
            f"SELECT {_HOLD}, archive.end_replay(%s, %s)", [self.names.incarnation, number, reason]
        )

    def log_batch(self, entry: BatchEntry) -> None:
        """Note a batch for the trace. Raises psycopg.Error."""
        self._connection.execute(f"SELECT {_HOLD}, {_LOG_BATCH}", (self.names.incarnation, *entry))

    def log_reading(self, seconds: float) -> None:
        """Note that what was put on the queue so long ago has been read. Raises psycopg.Error."""
        self._connection.execute("SELECT archive.log_reading(%s)", [seconds])

    def forget_traces(self, days: int, most: int) -> int:
        """Forget some of the trace that is older; return how many rows."""
        row = self._connection.execute("SELECT archive.forget_traces(%s, %s)", [days, most]).fetchone()
        assert row is not None
        return int(row[0])

    def log_agent(self, statement: AgentStatement) -> None:
        """Note how far an agent says it got."""
        self._connection.execute(
            "SELECT archive.log_agent(archive.intern_agent(%s, %s), %s, %s, %s, %s)",
            [
                statement.agent,
                statement.pool,
                statement.front_end,
                statement.confirmed,
                statement.confirmed_at,
                statement.at if statement.ended else None,
            ],
        )

    def expect(self, numbers: Numbers) -> None:
        """Note that an agent numbered IMs so far: those that never come are missing."""
        self._connection.execute(
            "SELECT archive.log_agent(archive.intern_agent(%s, %s), NULL, %s, NULL, NULL)",
            [numbers.agent, numbers.pool, numbers.last],
        )

    def account(self, archived: Iterable[Numbers], parked: Iterable[Numbers] = ()) -> Account:
        """Return what ``append`` is to note of the agents' numbers. Raises psycopg.Error."""
        ranges: dict[int, tuple[list[str], list[str]]] = {}
        for place, some in enumerate((archived, parked)):
            for numbers in some:
                agent = self.names.number_of(numbers.agent, numbers.pool)
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


def runs_of(ims: Sequence[IM]) -> Iterable[Numbers]:
    """Yield the runs of IMs that one agent numbered without a gap."""
    if not ims:
        return
    first = last = ims[0]
    for im in ims[1:]:
        if im.seq != last.seq + 1 or im.agent.int != last.agent.int:
            yield Numbers(first.agent, first.pool, first.seq, last.seq)
            first = im
        last = im
    yield Numbers(first.agent, first.pool, first.seq, last.seq)
