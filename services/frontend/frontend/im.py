"""An IM inside a front end: checked, with an id, and not yet numbered."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

import msgspec

from contract.message import AsSent, Encoding
from runtime.problem import Problem

MAX_CONVERSATION: Final = 255
"""Characters of a conversation's key."""


class IMProblem(Problem):
    """A problem of an IM that has an id: the caller may send it again under this id."""

    def __init__(
        self,
        im_id: UUID,
        status: int,
        detail: str,
        *,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """See ``runtime.problem.Problem``."""
        super().__init__(status, detail, field=field, headers=headers)
        self.id = im_id

    def document(self) -> dict[str, Any]:
        """Return the problem as RFC 9457 wants it, with the id."""
        return super().document() | {"id": str(self.id)}


class CheckedIM(AsSent, gc=False):
    """An IM that may be archived: addresses canonical, id minted."""

    id: UUID
    sent_at: datetime
    sender: str
    recipients: tuple[str, ...]
    conversation: str
    content_type: str
    encoding: Encoding
    body: str
    brought: bool
    """True if the caller brought the id, and so may send the IM again."""
    size: int
    """Bytes in which the caller sent it."""
    client: str = ""
    """The sender's program, if it is known."""
    received_at: datetime | None = None
    """When it was taken in: None in a spool of an older front end."""
    spelled: tuple[str, ...] = ()
    """Sender and recipients as they came, if one of them differs from its canonical form."""
    keyed: bool = False
    """True while ``conversation`` is the caller's own key, not yet filed under its connector."""

    def digest(self) -> bytes:
        """Return a digest of the content: IMs with one id and another digest are not the same."""
        return hashlib.blake2b(msgspec.json.encode(_content_of(self)), digest_size=16).digest()


_BESIDE: Final = ("id", "sent_at", "brought", "size", "client", "received_at", "spelled", "keyed")
"""Fields in which an IM that is sent again may differ; a new field is content unless it stands here."""
_content_of: Final = attrgetter(*(name for name in CheckedIM.__struct_fields__ if name not in _BESIDE))
