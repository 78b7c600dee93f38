"""The request that is being served: its id stands in the answer, in the log, and in the audit trail."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final
from uuid import UUID

ID_HEADER: Final = "X-Request-ID"
_HASH_LENGTH: Final = len("sha256:") + 8


@dataclass(slots=True)
class ServedRequest:
    """A request, with facts learnt while it is served."""

    id: UUID
    client: str = ""
    """The address that it comes from."""
    caller: str = ""
    """The caller's name, once it is known."""
    token: str = ""
    """The beginning of its token's hash, if the token is unknown."""
    reason: str = ""
    """The problem that it was answered."""


CURRENT: Final[ContextVar[ServedRequest | None]] = ContextVar("request", default=None)


def note_caller(name: str) -> None:
    """Note the caller of the request that is being served."""
    if (request := CURRENT.get()) is not None:
        request.caller = name


def note_unknown(token_hash: str) -> None:
    """Note an unknown token by a part of its hash, which is enough to tell tokens apart."""
    if (request := CURRENT.get()) is not None:
        request.token = token_hash[:_HASH_LENGTH]


def note_reason(reason: str) -> None:
    """Note the problem that the request is answered."""
    if (request := CURRENT.get()) is not None:
        request.reason = reason


def request_id() -> UUID | None:
    """Return the id of the request that is being served; None if none is."""
    request = CURRENT.get()
    return None if request is None else request.id
