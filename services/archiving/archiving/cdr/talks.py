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
    """One sender's share of a talk."""

    sender: str
    sent: int
    last: datetime
    client: str


class _Row(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Activities alike of one sender, their sum."""

    sender: str
    recipients: tuple[str, ...]
    client: str
    first: datetime
    last: datetime
    archived: int
    passed: dict[str, int] = {}
    scope: str | None = None
    """None: as the talk's; the pool likewise."""
    pool: str | None = None
    parts: list[_Part] | None = None
    """None: there is one."""


class _Talk(_Row):
    """Activities of a conversation, as ``cdr.log_talks`` reads them: alike, or with rows that are."""

    conversation: str
    latest: datetime
    """When the last one begins."""
    rows: list[_Row] | None = None
    voices: list[_Voice] | None = None
    hearers: list[str] | None = None
    """Recipients that are no voices; None: the recipients."""


class Talks:
    """Activities of some messages: summed up to talks, or to be stored one by one."""

    def __init__(self, activities: Iterable[Activity], idle: timedelta) -> None:
        """``idle``: after so long IMs are of another session."""
        self.singles: list[Activity] = []
        self._talks: list[list[Activity]] = []
        by_conversation: dict[str, list[Activity]] = {}
        for activity in activities:
            by_conversation.setdefault(activity.conversation, []).append(activity)
        for some in by_conversation.values():
            if len(some) > 1:
                some.sort(key=_order)
            if _is_one(some, idle):
                self._talks.append(some)
            else:
                self.singles += some

    def encode(self) -> str:
        """Return the talks as JSON."""
        return msgspec.json.encode([_talk(some) for some in self._talks]).decode()

    def release(self, places: Iterable[int]) -> None:
        """Have activities of talks stored one by one."""
        for place in places:
            self.singles += self._talks[place]


def _order(activity: Activity) -> tuple[Any, ...]:
    """Return the order of activities, as in ``cdr.insert_activity``."""
    return (
        *(activity.first, activity.first - activity.last, activity.sender, activity.recipients),
        *(activity.client, activity.scope, activity.pool),
    )


def _is_one(activities: Sequence[Activity], idle: timedelta) -> bool:
    """Return whether all belongs to one session, whichever that is."""
    last = activities[0].last
    for activity in activities:
        if activity.invited or activity.ended or activity.unseen or activity.attempts:
            return False
        if activity.first - last > idle or activity.last < activity.first:
            return False
        last = max(last, activity.last)
    return True


def _talk(activities: Sequence[Activity]) -> _Talk | Activity:
    first = activities[0]
    if len(activities) == 1:
        return first
    by_key: dict[tuple[Any, ...], list[Activity]] = {}
    for each in activities:
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
    talk = _Talk(
        conversation=first.conversation,
        sender=first.sender,
        recipients=first.recipients,
        scope="federated" if any(each.scope == "federated" for each in activities) else first.scope,
        pool=first.pool,
        client=first.client,
        first=first.first,
        last=max([each.last for each in activities]),
        latest=activities[-1].first,
        archived=sum([each.archived for each in activities]),
        passed=_total(activities),
    )
    if len(by_key) == 1:
        talk.parts = _parts(activities)
    else:
        talk.rows = [_row(some, talk) for some in by_key.values()]
        talk.voices = _voices(talk.rows)
        senders = {voice.sender for voice in talk.voices}
        talk.hearers = list({address for row in talk.rows for address in row.recipients} - senders)
    return talk


def _row(some: Sequence[Activity], talk: _Talk) -> _Row:
    first = some[0]
    return _Row(
        sender=first.sender,
        recipients=first.recipients,
        client=first.client,
        first=first.first,
        last=max([each.last for each in some]),
        archived=sum([each.archived for each in some]),
        passed=_total(some),
        scope=None if first.scope == talk.scope else first.scope,
        pool=None if first.pool == talk.pool else first.pool,
        parts=_parts(some) if len(some) > 1 else None,
    )


def _parts(some: Sequence[Activity]) -> list[_Part]:
    begin = some[0].first
    return [_part(begin, each) for each in some]


def _part(begin: datetime, each: Activity) -> _Part:
    after, length = (each.first - begin) // _MICROSECOND, (each.last - each.first) // _MICROSECOND
    if each.passed:
        return after, length, each.archived, each.passed
    return after, length, each.archived


def _voices(rows: Sequence[_Row]) -> list[_Voice]:
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
