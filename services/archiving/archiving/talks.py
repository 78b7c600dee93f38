"""Activities of many messages, summed up for the database: a talk is all that they tell of a conversation.

The database stores a talk at once if that comes to the same as one activity after the other.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from contract.cdr import Activity

_MICROSECOND: Final = timedelta(microseconds=1)
_Part = tuple[int, int, int] | tuple[int, int, int, dict[str, int]]
"""Microseconds after the sum's first, microseconds long, archived, passed."""


class _Voice(msgspec.Struct):
    """What one sender said in a talk."""

    sender: str
    sent: int
    last: datetime
    client: str


class _Sum(msgspec.Struct, omit_defaults=True):
    """Activities of a conversation, as ``cdr.log_talks`` reads them; of one sender, or with rows that are."""

    conversation: str
    sender: str
    recipients: tuple[str, ...]
    scope: str
    pool: str
    client: str
    first: datetime
    last: datetime
    latest: datetime
    """When the last one begins."""
    archived: int
    passed: dict[str, int] = {}
    parts: list[_Part] | None = None
    rows: list[Any] | None = None
    voices: list[_Voice] | None = None


class Talks:
    """What some messages tell: talks, and activities that are stored one by one."""

    def __init__(self, activities: Iterable[Activity], idle: timedelta) -> None:
        """``idle``: after so long IMs are of another session."""
        self.singles: list[Activity] = []
        self._told: list[list[Activity]] = []
        by_conversation: dict[str, list[Activity]] = {}
        for activity in activities:
            by_conversation.setdefault(activity.conversation, []).append(activity)
        for told in by_conversation.values():
            if len(told) > 1:
                told.sort(key=_order)
            if _is_one(told, idle):
                self._told.append(told)
            else:
                self.singles += told

    def encode(self) -> str:
        """Return the talks as JSON."""
        return msgspec.json.encode([_talk(told) for told in self._told]).decode()

    def release(self, places: Iterable[int]) -> None:
        """Have activities of talks stored one by one."""
        for place in places:
            self.singles += self._told[place]


def _order(activity: Activity) -> tuple[Any, ...]:
    """Return what activities are ordered by, as in ``cdr.insert_activity``."""
    return (
        *(activity.first, activity.first - activity.last, activity.sender, activity.recipients),
        *(activity.client, activity.scope, activity.pool),
    )


def _is_one(told: Sequence[Activity], idle: timedelta) -> bool:
    """Return whether all belongs to one session, whichever that is."""
    last = told[0].last
    for activity in told:
        if activity.invited or activity.ended or activity.unseen or activity.attempts:
            return False
        if activity.first - last > idle or activity.last < activity.first:
            return False
        last = max(last, activity.last)
    return True


def _talk(told: Sequence[Activity]) -> _Sum | Activity:
    first = told[0]
    if len(told) == 1:
        return first
    by_key: dict[tuple[Any, ...], list[Activity]] = {}
    for each in told:
        key = (
            each.sender,
            each.client,
            _minute(each.first),
            _minute(each.last),
            each.recipients,
            each.scope,
            each.pool,
        )
        by_key.setdefault(key, []).append(each)
    if len(by_key) == 1:
        return _sum(told, parts=[_part(first, each) for each in told])
    rows = [
        _sum(some, parts=[_part(some[0], each) for each in some]) if len(some) > 1 else some[0]
        for some in by_key.values()
    ]
    talk = _sum(told)
    talk.rows = rows
    talk.voices = _voices(rows)
    return talk


def _sum(some: Sequence[Activity], parts: list[_Part] | None = None) -> _Sum:
    first = some[0]
    return _Sum(
        conversation=first.conversation,
        sender=first.sender,
        recipients=first.recipients,
        scope="federated" if any(each.scope == "federated" for each in some) else first.scope,
        pool=first.pool,
        client=first.client,
        first=first.first,
        last=max([each.last for each in some]),
        latest=some[-1].first,
        archived=sum([each.archived for each in some]),
        passed=_total(some),
        parts=parts,
    )


def _part(first: Activity, each: Activity) -> _Part:
    after, length = (each.first - first.first) // _MICROSECOND, (each.last - each.first) // _MICROSECOND
    if each.passed:
        return after, length, each.archived, each.passed
    return after, length, each.archived


def _voices(rows: Sequence[Activity | _Sum]) -> list[_Voice]:
    voices: dict[str, _Voice] = {}
    for row in rows:
        sent = row.archived + sum(row.passed.values())
        voice = voices.get(row.sender)
        if voice is None:
            voices[row.sender] = _Voice(row.sender, sent, row.last, row.client)
            continue
        voice.sent += sent
        voice.last, voice.client = max((voice.last, voice.client), (row.last, row.client))
    return list(voices.values())


def _total(some: Sequence[Activity]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in some:
        for rule, count in each.passed.items():
            total[rule] = total.get(rule, 0) + count
    return total


def _minute(time: datetime) -> tuple[int, int]:
    return time.toordinal(), time.hour * 60 + time.minute
