"""Keys of conversations: a caller's own, or made of the participants, so that the same people share one."""

import hashlib
from collections.abc import Iterable
from typing import Final

_MAX_BYTES: Final = 2048
"""Of a key, in UTF-8: an index of PostgreSQL holds 2,704."""
_MAX_KIND: Final = 16
"""Characters before the colon (``p2p``) that are kept of a long key."""


def conversation_of(sender: str, recipients: tuple[str, ...]) -> str:
    """Return the key of a conversation between canonical addresses."""
    people = {sender, *recipients}
    return pair_key(people) if len(recipients) == 1 else group_key(people)


def pair_key(people: Iterable[str]) -> str:
    """Return the key of a conversation of two people, or of one person with themselves."""
    first, *others = sorted(people)
    return filed_key(f"p2p:{first}|{others[-1] if others else first}")


def group_key(people: Iterable[str]) -> str:
    """Return the key of a group."""
    return f"group:{hashlib.sha256('|'.join(sorted(people)).encode()).hexdigest()[:32]}"


def conversation_key(connector: str, key: str) -> str:
    """Return the key under which a connector's own key of a conversation is filed.

    No other connector's key comes to the same, nor one made of people's addresses (``p2p:…``, ``group:…``).
    """
    return f"connector:{connector}:{key}"


def filed_key(key: str) -> str:
    """Return the key under which a conversation is filed: its own, or a digest of one too long for an index.

    Older front ends made such keys of two long addresses. A filed key is filed under itself.
    """
    if len(key) <= _MAX_BYTES // 4 or len(raw := key.encode()) <= _MAX_BYTES:
        return key
    return f"{key.partition(':')[0][:_MAX_KIND]}:{hashlib.sha256(raw).hexdigest()}"
