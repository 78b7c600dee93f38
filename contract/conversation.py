"""Keys of conversations for callers that have none: made of those who talk, so the same people share one."""

import hashlib
from collections.abc import Iterable


def conversation_of(sender: str, recipients: tuple[str, ...]) -> str:
    """Return the key of the conversation of somebody with others, all by their canonical addresses."""
    people = {sender, *recipients}
    return pair_key(people) if len(recipients) == 1 else group_key(people)


def pair_key(people: Iterable[str]) -> str:
    """Return the key of two who talk with each other, or of one who talks to himself."""
    first, *others = sorted(people)
    return f"p2p:{first}|{others[-1] if others else first}"


def group_key(people: Iterable[str]) -> str:
    """Return the key of a group."""
    return f"group:{hashlib.sha256('|'.join(sorted(people)).encode()).hexdigest()[:32]}"
