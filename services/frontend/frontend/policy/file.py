"""The last policy on disk: of all that a volume's front ends kept, the newest; and this front end's own.

A file's time of change is when the admin API last confirmed that this policy counts.
"""

import logging
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from contract.policy import Policy, PolicyUser
from contract.snapshot import decode_settings, decode_users, encode_settings, encode_users
from frontend.policy.source import apply, find_respelled

log = logging.getLogger("frontend")

_NAME: Final = "policy.ndjson"
_ABOUT_THE_SAME: Final = 120.0
"""Seconds: times are noted once a minute, by clocks that differ a little."""

_AHEAD_SECONDS: Final = 300.0
"""Seconds that a file's time may lie in the future; beyond that it counts as unknown."""
_UNREADABLE: Final = (OSError, msgspec.DecodeError, ValueError)


class KeptPolicy(NamedTuple):
    """A policy as it was found."""

    policy: Policy
    confirmed: float
    """When the admin API last confirmed that it counts, by our clock; minus infinity if that is unknown."""
    is_own: bool
    """True if it was in the slot asked for, not in another."""


class _Found(NamedTuple):
    path: Path
    confirmed: float
    version: int


def read_newest(slot: Path) -> KeptPolicy | None:
    """Return the policy confirmed last of those in a slot and the slots beside it; None if there is none."""
    found = list(_find(slot))
    while found:
        newest = max(each.confirmed for each in found)
        best = max(
            (each for each in found if each.confirmed >= newest - _ABOUT_THE_SAME),
            key=lambda each: (each.version, each.confirmed),
        )
        try:
            line, _, lines = best.path.read_bytes().partition(b"\n")
            users = decode_users(lines)
            policy = apply(None, decode_settings(line), users, find_respelled(users))
            return KeptPolicy(policy, best.confirmed, best.path.parent == slot)
        except _UNREADABLE as error:
            _note_unreadable(best.path, error)
            found.remove(best)
    return None


def _find(slot: Path) -> Iterator[_Found]:
    try:  # slots are numbered
        others = [each for each in slot.parent.iterdir() if each.name.isdecimal() and each != slot]
    except OSError:
        others = []
    for path in (folder / _NAME for folder in (slot, *others)):
        try:
            if path.exists() and not path.is_file():  # to open a pipe would take for ever
                raise OSError("it is no file")
            with path.open("rb") as file:
                confirmed = os.fstat(file.fileno()).st_mtime
                if confirmed > time.time() + _AHEAD_SECONDS:
                    confirmed = -math.inf
                yield _Found(path, confirmed, decode_settings(file.readline()).version)
        except FileNotFoundError:
            continue
        except _UNREADABLE as error:
            _note_unreadable(path, error)


def _note_unreadable(path: Path, error: Exception) -> None:
    log.warning("a policy on disk can't be read", extra={"slot": path.parent.name, "error": str(error)})


def write_policy(slot: Path, policy: Policy, confirmed: float) -> None:
    """Replace the policy in a slot, whole or not at all. Raises OSError."""
    users = [PolicyUser(address, flags) for address, flags in policy.users.items()]
    fresh = (slot / _NAME).with_suffix(".new")
    with fresh.open("wb") as file:
        file.write(encode_settings(policy.settings) + b"\n" + encode_users(users))
        file.flush()
        os.utime(file.fileno(), (confirmed, confirmed))
        os.fsync(file.fileno())
    fresh.replace(slot / _NAME)


def note_confirmed(slot: Path, confirmed: float) -> None:
    """Note that the policy in a slot still counts. Raises OSError."""
    os.utime(slot / _NAME, (confirmed, confirmed))
