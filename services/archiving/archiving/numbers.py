"""The archive's numbers for names: people, conversations, content types, rules, agents."""

import threading
from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

import msgspec
import psycopg

from archiving.rows import pack_route, pack_row
from archiving.spellings import key_of, note_spellings
from contract.address import address_of
from contract.conversation import filed_key
from contract.message import IM
from contract.remembered import weigh_texts

_MAX_CACHED: Final = 500_000
"""Names in a cache, and recipients of all routes together, at most; beyond, the caches start again."""
_MAX_BYTES: Final = 256 << 20
"""Bytes of all together at most, likewise: callers choose the length of a name."""
_CLOSE_SECONDS: Final = 1.0

_Route = tuple[str, str, tuple[str, ...], str]
"""Conversation, sender, recipients, scope: few IMs bring a new route."""


class Numbers:
    """Numbers of names, kept as long as the session lasts; and IMs packed as rows with them."""

    def __init__(self, connection: psycopg.Connection) -> None:
        """``connection``: a session in autocommit, for this alone. Raises psycopg.Error."""
        self._connection = connection
        incarnation = connection.execute("SELECT archive.incarnation()").fetchone()
        assert incarnation is not None
        self.incarnation: Final[UUID] = incarnation[0]
        """The archive's incarnation, read before it gave any number: the numbers are valid there alone."""
        self._lock = threading.Lock()
        self._ids: dict[str, dict[str, int]] = {
            kind: {} for kind in ("users", "conversations", "content_types", "rules")
        }
        self._agents: dict[int, int] = {}  # by UUID.int, whose hash is cheap
        self._pools: dict[int, str] = {}
        """Pools of agents, by UUID.int too."""
        self._routes: dict[_Route, bytes] = {}
        self._recipients = 0
        """Count of the recipients of all routes."""
        self._bytes = 0
        """Bytes of names and routes, about."""

    def close(self) -> None:
        """Close the session; if another thread uses it for long, that thread's end closes it.

        Closing it under that thread would free memory that the thread reads from, and that the next
        connection may get.
        """
        if self._lock.acquire(timeout=_CLOSE_SECONDS):
            try:
                self._connection.close()
            finally:
                self._lock.release()

    def pack(self, ims: Sequence[IM]) -> list[bytes]:
        """Return IMs as rows of ``rows.COLUMNS``.

        Raises ValueError for an IM that cannot be a row, psycopg's errors for a name the database refuses and
        when it is not at our service. Any thread may call it.
        """
        with self._lock:
            self._forget_if_many()
            self._learn_routes(ims)
            return self._pack_known(ims)[0]

    def pack_known(self, ims: Sequence[IM]) -> tuple[list[bytes], list[IM]]:
        """Return the rows of IMs between known people, and the other IMs, which are left for ``pack``."""
        with self._lock:
            return self._pack_known(ims)

    def number_of(self, agent: UUID, pool: str) -> int:
        """Return the number of an agent. Raises psycopg.Error, ValueError if it is another pool's."""
        if self._pools.get(agent.int) == pool:
            return self._agents[agent.int]
        with self._lock:
            return self._intern_agent(agent, pool)

    def check(self) -> None:
        self._connection.execute("SELECT")

    def knows(self, pool: str, rule: str) -> bool:
        """Return whether this session has numbers of both."""
        return pool in self._pools.values() and rule in self._ids["rules"]

    def known_number(self, agent: UUID, pool: str) -> int | None:
        """Return the number of an agent that this session knows; else None."""
        return self._agents[agent.int] if self._pools.get(agent.int) == pool else None

    def _pack_known(self, ims: Sequence[IM]) -> tuple[list[bytes], list[IM]]:
        types = self._intern("content_types", {im.content_type for im in ims})
        rules = self._intern("rules", {im.rule for im in ims})
        for im in {(im.agent.int, im.pool): im for im in ims}.values():
            self._intern_agent(im.agent, im.pool)
        agents, routes = self._agents, self._routes
        rows: list[bytes] = []
        unknown: list[IM] = []
        for im in ims:
            route = routes.get((im.conversation, im.sender, im.recipients, im.scope))
            if route is None:
                unknown.append(im)
            else:
                rows.append(pack_row(im, route, types[im.content_type], agents[im.agent.int], rules[im.rule]))
        return rows, unknown

    def _learn_routes(self, ims: Sequence[IM]) -> None:
        """Number people and conversations that are new to this session."""
        keys: list[_Route] = [(im.conversation, im.sender, im.recipients, im.scope) for im in ims]
        new = [key for key in dict.fromkeys(keys) if key not in self._routes]
        if not new:
            return
        people = {name for _, sender, to, _ in new for name in (sender, *to)}
        users = self._intern("users", people)
        conversations = self._intern("conversations", {filed_key(key[0]) for key in new})
        if respelled := {name for name in people if address_of(name) != name}:
            self._note_spellings(respelled, new)
        self._add_participants(
            {
                (conversations[filed_key(conversation)], users[name])
                for conversation, sender, to, _ in new
                for name in (sender, *to)
            }
        )
        self._recipients += sum(len(key[2]) or 1 for key in new)
        for key in new:
            conversation, sender, to, scope = key
            self._bytes += weigh_texts(conversation, sender, *to)
            self._routes[key] = pack_route(
                conversations[filed_key(conversation)],
                users[sender],
                [users[name] for name in to],
                scope == "federated",
            )

    def _add_participants(self, pairs: set[tuple[int, int]]) -> None:
        """Store the people of conversations, by pairs of numbers."""
        self._connection.execute(
            "SELECT archive.hold_incarnation(%s), archive.add_participants(%s::bigint[], %s::int[])",
            [
                self.incarnation,
                *("{" + ",".join(str(pair[place]) for pair in pairs) + "}" for place in (0, 1)),
            ],
        )

    def _note_spellings(self, respelled: set[str], routes: Sequence[_Route]) -> None:
        """Store the canonical names of people and conversations that earlier front ends spelled otherwise."""
        note_spellings(self._connection, "users", [(name, address_of(name)) for name in respelled])
        keys = [
            (filed_key(conversation), key_of(filed_key(conversation), (sender, *to)))
            for conversation, sender, to, _ in routes
            if not respelled.isdisjoint((sender, *to))
        ]
        note_spellings(self._connection, "conversations", keys)

    def _forget_if_many(self) -> None:
        most = max(self._recipients, *map(len, self._ids.values()))
        if most > _MAX_CACHED or self._bytes > _MAX_BYTES:
            self._routes.clear()
            self._recipients = self._bytes = 0
            for names in self._ids.values():
                names.clear()

    def _intern(self, kind: str, names: Iterable[str]) -> dict[str, int]:
        known = self._ids[kind]
        new = [name for name in names if name not in known]
        if new:
            self._bytes += weigh_texts(*new)
            # As JSON: psycopg makes an array of text at a microsecond an element.
            known.update(
                self._connection.execute(
                    "SELECT name, id"
                    " FROM archive.intern(%s, ARRAY(SELECT json_array_elements_text(%s::json)))",
                    [kind, msgspec.json.encode(new).decode()],
                )
            )
        return known

    def _intern_agent(self, agent: UUID, pool: str) -> int:
        known = self._pools.get(agent.int)
        if known is None:
            row = self._connection.execute("SELECT archive.intern_agent(%s, %s)", [agent, pool]).fetchone()
            assert row is not None
            self._agents[agent.int] = int(row[0])
            self._pools[agent.int] = pool
        elif known != pool:
            raise ValueError(f"agent {agent} is of pool {known!r}, not of {pool!r}")
        return self._agents[agent.int]
