"""Parking: lines and messages that cannot be stored are kept as they came, to be replayed or discarded."""

import hashlib
import logging
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
import psycopg
from pika.spec import BasicProperties

from contract.message import (
    AGENT_HEADER,
    COUNT_HEADER,
    FIRST_SEQ_HEADER,
    MAX_COUNT,
    MAX_SEQ,
    POOL_HEADER,
)

log = logging.getLogger("archiving")

_NAMED: Final = (AGENT_HEADER, POOL_HEADER, FIRST_SEQ_HEADER, COUNT_HEADER)
_KEPT: Final = ("type", "content_type", "message_id", "timestamp", "app_id", "user_id")


class Parked(NamedTuple):
    """The line of an IM that could not be stored; a whole body if its lines are unknown."""

    body: bytes
    properties: BasicProperties
    """Of the message that brought it."""
    reason: str
    seq: int | None
    """The IM's number, if it is one IM whose number is known."""
    im: UUID | None = None
    """The IM's id, if it can be read."""


def park(connection: psycopg.Connection, parked: Parked, *, quiet: bool = False) -> None:
    """Store something as parked, once however often it comes. Raises psycopg.Error.

    ``quiet``: without a line in the log.
    """
    headers = parked.properties.headers or {}
    numbers = (parked.seq, 1) if parked.seq is not None else numbers_in(headers)
    first, count = numbers if numbers is not None else (None, 1)
    pool = headers.get(POOL_HEADER)
    agent = agent_in(headers)
    connection.execute(
        "SELECT archive.park(%s, %s, %s, %s::text::jsonb, %s, %s, %s::bigint, %s)",
        [
            hashlib.sha256(f"{agent} {first}\n".encode() + parked.body).digest(),
            storable(parked.reason),
            parked.body,
            describe(parked.properties),
            storable(pool) if isinstance(pool, str) else None,
            agent,
            first if first is not None and 0 < first <= MAX_SEQ else None,
            count,
        ],
    )
    if not quiet:
        log.error(
            "parked an IM",
            extra={"im": parked.im, "agent": agent, "seq": first, "reason": parked.reason[:300]},
        )


def number_in(headers: Mapping[str, Any], name: str) -> int | None:
    """Return a header's number; None if it has none."""
    value = headers.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def numbers_in(headers: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the first number and the count that a message's headers name; None if they are impossible."""
    first, count = number_in(headers, FIRST_SEQ_HEADER), number_in(headers, COUNT_HEADER)
    if first is None or count is None or first < 1 or not 1 <= count <= MAX_COUNT:
        return None
    return (first, count) if first + count - 1 <= MAX_SEQ else None


def agent_in(headers: Mapping[str, Any]) -> UUID | None:
    """Return the agent that a message's headers name, if any."""
    try:
        return UUID(headers.get(AGENT_HEADER))
    except (TypeError, ValueError, AttributeError):
        return None


def properties_of(document: Mapping[str, Any]) -> BasicProperties:
    """Return AMQP properties from their JSON in the archive."""
    return BasicProperties(
        headers=document.get("headers") or {},
        **{name: document[name] for name in _KEPT if document.get(name) is not None},
    )


def describe(properties: BasicProperties) -> str:
    """Return AMQP properties as JSON; of headers that JSON cannot hold only those that name numbers."""
    document = {name: getattr(properties, name) for name in _KEPT}
    headers = properties.headers or {}
    try:
        encoded = msgspec.json.encode(document | {"headers": headers}, enc_hook=str)
    except Exception:  # of many kinds: half a character, a name that is no text, tables nested too deep
        named = {name: _as_scalar(headers.get(name)) for name in _NAMED}
        plain = {name: _as_scalar(value) for name, value in document.items()}
        encoded = msgspec.json.encode(plain | {"headers": named})
    # U+0000 is the one character that PostgreSQL's jsonb cannot hold.
    return encoded.decode().replace("\\u0000", "\\ufffd")


def _as_scalar(value: object) -> int | str | None:
    return storable(value) if isinstance(value, str) else value if isinstance(value, int) else None


def storable(text: str) -> str:
    """Return a text as PostgreSQL's ``text`` can hold it, at most 1,000 characters."""
    kept = text[:1000].replace("\0", "\N{REPLACEMENT CHARACTER}")
    return kept.encode(errors="replace").decode()  # a lone surrogate is no character
