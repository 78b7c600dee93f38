"""The database side: one transaction stores a batch of IMs through ``log_messages()``."""

import struct
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple
from uuid import UUID

import psycopg

from contract.message import IM, AgentStatement, content_of

_MAX_CACHED: Final = 500_000
"""Entries of a cache at most; then it starts anew."""

# PostgreSQL's binary COPY format (documentation of COPY, "Binary Format"): a header, per row the number
# of fields and each field's length and bytes, a trailer. Packing it by hand costs 1 µs a row instead of 6.
_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_TRAILER: Final = struct.pack(">h", -1)
_FIELDS: Final = 13
_KEY: Final = struct.Struct(">hi16siq")  # number of fields, id, sent_at
_LENGTH: Final = struct.Struct(">i")
_NULL: Final = _LENGTH.pack(-1)
_ORIGIN: Final = struct.Struct(">iiiqiqih")  # agent_id, seq, policy_version, rule_id
_COPY: Final = "COPY pg_temp.batch FROM STDIN (FORMAT BINARY)"

_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECONDS_TO_2000: Final = 946_684_800_000  # PostgreSQL counts time from 2000


class ConflictError(Exception):
    """IMs whose ids the archive knows with another content. Nothing of the batch was stored."""

    def __init__(self, ims: list[IM]) -> None:
        """``ims``: those of the batch that conflict."""
        super().__init__(f"{len(ims)} ids are archived already with another content")
        self.ims = ims


class Numbers(NamedTuple):
    """Some of an agent's numbers, from ``first`` to ``last``, that could not be stored."""

    agent: UUID
    pool: str
    first: int
    last: int


class Archive:
    """One session with the database ``lcslog``; ids of names are kept for as long as it lasts."""

    def __init__(self, url: str) -> None:
        """``url``: the worker's role; connects at once. Raises psycopg.OperationalError."""
        self._connection = psycopg.connect(url, autocommit=True, connect_timeout=5)
        self._connection.execute("SELECT archive.open_batch()")
        self._ids: dict[str, dict[str, int]] = {
            kind: {} for kind in ("users", "conversations", "content_types", "rules")
        }
        self._agents: dict[int, int] = {}  # by UUID.int, whose hash is cheap
        self._participants: set[tuple[int, int]] = set()
        self._routes: dict[tuple[str, str, tuple[str, ...], str], bytes] = {}

    def close(self) -> None:
        """End the session."""
        self._connection.close()

    def ensure_partitions(self) -> None:
        """Make the partitions of the months to come."""
        self._connection.execute("SELECT archive.ensure_partitions()")

    def store(self, ims: Sequence[IM], parked: Sequence[Numbers] = ()) -> int:
        """Store IMs once each, in one transaction; return how many were new when it is committed.

        ``parked`` are numbers to account for as parked. Raises ConflictError, ValueError for an IM that
        cannot be a row, psycopg.DataError and psycopg.IntegrityError for one the database refuses, and
        other psycopg errors when the database is not at our service; then nothing is stored.
        """
        rows = self.pack(ims)
        agents, archived, refused = self._account(ims, parked)
        with self._connection.transaction(), self._connection.cursor() as cursor:
            if ims:
                with cursor.copy(_COPY) as copy:
                    copy.write(rows)
            cursor.execute(
                "SELECT * FROM archive.log_messages("
                "%s, %s::int[], %s::text[]::int8multirange[], %s::text[]::int8multirange[])",
                [len(ims), agents, archived, refused],
                prepare=True,
            )
            result = cursor.fetchone()
            assert result is not None
            inserted, agent_ids, seqs = result
            if agent_ids:
                conflicting = set(zip(agent_ids, seqs, strict=True))
                raise ConflictError([im for im in ims if (self._agents[im.agent.int], im.seq) in conflicting])
            return int(inserted)

    def pack(self, ims: Sequence[IM]) -> bytes:
        """Return IMs as rows of the table ``batch`` in COPY's binary format; raises as ``store`` does."""
        self._learn_names(ims)
        # Sorted by id, so that two workers with the same IMs never wait for each other in a circle.
        return b"".join((_HEADER, *sorted(map(self._pack, ims)), _TRAILER))

    def log_agent(self, statement: AgentStatement) -> None:
        """Note how far an agent says it got."""
        self._connection.execute(
            "SELECT archive.log_agent(archive.intern_agent(%s, %s), %s, %s, %s)",
            [
                statement.agent,
                statement.pool,
                statement.front_end,
                statement.confirmed,
                statement.at if statement.ended else None,
            ],
        )

    def _learn_names(self, ims: Sequence[IM]) -> None:
        """Have the database number what we meet for the first time: few IMs bring anything new."""
        self._forget_if_many()
        new = [im for im in ims if _route_of(im) not in self._routes]
        if new:
            users = self._intern("users", {name for im in new for name in (im.sender, *im.recipients)})
            conversations = self._intern("conversations", {im.conversation for im in new})
            pairs = {
                (conversations[im.conversation], users[name])
                for im in new
                for name in (im.sender, *im.recipients)
            } - self._participants
            if pairs:
                self._connection.execute(
                    "SELECT archive.add_participants(%s, %s::int[])",
                    [[pair[0] for pair in pairs], [pair[1] for pair in pairs]],
                )
                self._participants |= pairs
            for im in new:
                self._routes[_route_of(im)] = _pack_route(
                    conversations[im.conversation],
                    users[im.sender],
                    [users[name] for name in im.recipients],
                    im.scope == "federated",
                )
        self._intern("content_types", {im.content_type for im in ims})
        self._intern("rules", {im.rule for im in ims})
        for im in {im.agent.int: im for im in ims}.values():
            self._intern_agent(im.agent, im.pool)

    def _forget_if_many(self) -> None:
        if max(len(self._routes), len(self._participants), *map(len, self._ids.values())) > _MAX_CACHED:
            self._routes.clear()
            self._participants.clear()
            for names in self._ids.values():
                names.clear()

    def _intern(self, kind: str, names: Iterable[str]) -> dict[str, int]:
        known = self._ids[kind]
        new = [name for name in names if name not in known]
        if new:
            known.update(self._connection.execute("SELECT name, id FROM archive.intern(%s, %s)", [kind, new]))
        return known

    def _intern_agent(self, agent: UUID, pool: str) -> int:
        number = self._agents.get(agent.int)
        if number is None:
            row = self._connection.execute("SELECT archive.intern_agent(%s, %s)", [agent, pool]).fetchone()
            assert row is not None
            number = self._agents[agent.int] = int(row[0])
        return number

    def _pack(self, im: IM) -> bytes:
        im_id = im.id.int
        milliseconds = im_id >> 80
        elapsed = im.sent_at - _UNIX_EPOCH
        if (
            im_id >> 76 & 0xF != 7  # the version of a UUID
            or (elapsed.days * 86_400 + elapsed.seconds) * 1000 != milliseconds - milliseconds % 1000
            or elapsed.microseconds != milliseconds % 1000 * 1000
        ):
            raise ValueError("sent_at is not the time inside id")
        content = im.body.encode() if im.encoding == "text" else content_of(im)
        size = _LENGTH.pack(len(content))
        return b"".join(
            (
                _KEY.pack(_FIELDS, 16, im_id.to_bytes(16), 8, (milliseconds - _MILLISECONDS_TO_2000) * 1000),
                self._routes[_route_of(im)],
                _CONTENT_TYPE.pack(2, self._ids["content_types"][im.content_type]),
                size + content + _NULL if im.encoding == "text" else _NULL + size + content,
                _ORIGIN.pack(
                    4,
                    self._agents[im.agent.int],
                    8,
                    im.seq,
                    8,
                    im.policy_version,
                    2,
                    self._ids["rules"][im.rule],
                ),
            )
        )

    def _account(
        self, ims: Sequence[IM], parked: Sequence[Numbers]
    ) -> tuple[list[int], list[str], list[str]]:
        """Return agents' ids and, beside each, the ranges archived and parked as multirange literals."""
        ranges: dict[int, tuple[list[str], list[str]]] = {}
        for first, last in _runs(ims):
            archived, _ = ranges.setdefault(self._agents[first.agent.int], ([], []))
            archived.append(f"[{first.seq},{last.seq}]")
        for numbers in parked:
            _, refused = ranges.setdefault(self._intern_agent(numbers.agent, numbers.pool), ([], []))
            refused.append(f"[{numbers.first},{numbers.last}]")
        return (
            list(ranges),
            ["{" + ",".join(archived) + "}" for archived, _ in ranges.values()],
            ["{" + ",".join(refused) + "}" for _, refused in ranges.values()],
        )


_CONTENT_TYPE: Final = struct.Struct(">ih")


def _route_of(im: IM) -> tuple[str, str, tuple[str, ...], str]:
    return im.conversation, im.sender, im.recipients, im.scope


def _pack_route(conversation: int, sender: int, recipients: list[int], federated: bool) -> bytes:
    """Return the fields conversation_id, sender_id, recipient_ids and federated, in COPY's format."""
    elements = b"".join(struct.pack(">ii", 4, recipient) for recipient in recipients)
    array = struct.pack(">iiiii", 1, 0, 23, len(recipients), 1) + elements  # 23: the type int4
    return (
        struct.pack(">iqiii", 8, conversation, 4, sender, len(array))
        + array
        + struct.pack(">i?", 1, federated)
    )


def _runs(ims: Sequence[IM]) -> Iterable[tuple[IM, IM]]:
    """Yield first and last of each run of IMs that one agent numbered without a gap."""
    if not ims:
        return
    first = last = ims[0]
    for im in ims[1:]:
        if im.seq != last.seq + 1 or im.agent.int != last.agent.int:
            yield first, last
            first = im
        last = im
    yield first, last
