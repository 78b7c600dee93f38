"""Call detail records: sums up IMs by sender and conversation, and publishes that once a second.

No IM waits for them. Activities not yet published are in memory alone: a front end that is killed loses a
second of them. The archive is not touched by that, and the reconciliation names the difference.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import Final

from contract.cdr import CDR_TYPE, Activity, encode_activities
from contract.conversation import conversation_key
from contract.message import make_id, milliseconds_of
from contract.policy import Decision
from contract.remembered import weigh_texts
from contract.topology import CDR_EXCHANGE, CDR_QUEUE
from frontend.config import FrontEndSettings
from frontend.im import MAX_CONVERSATION, CheckedIM
from frontend.metrics import CDR_LOST
from frontend.policy.policies import Policies
from frontend.publisher import Publisher, RefusedError, UnknownError
from runtime.broker_connection import raise_if_cancelled

log = logging.getLogger("frontend")

_EVERY_SECONDS: Final = 1.0
_SLICE_MILLISECONDS: Final = 10_000
"""No sum goes over a multiple of it, by its IMs' own times. So IMs that come late, or by a clock that was
set, are summed up by themselves, and the sums fit the archive minute by minute."""
_PUBLISH_SECONDS: Final = 5.0
_MAX_GATHERED: Final = 100_000
"""Activities in memory, at most, while the broker is away."""
_MAX_GATHERED_BYTES: Final = 64 << 20
"""Bytes of their names, likewise."""
_MAX_MESSAGE: Final = 2000
"""Activities in an AMQP message."""
_MAX_BYTES: Final = 1 << 20
"""Bytes in an AMQP message, about: RabbitMQ 4 refuses more than 16 MiB."""
_MAX_CLIENT: Final = 200
_MAX_ENDED: Final = 64
_MAX_UNPUBLISHED: Final = 50
"""AMQP messages that wait for the broker, at most; then activities are summed up further."""
_Key = tuple[str, str, tuple[str, ...], str]
"""Conversation, sender, recipients and client tell one activity from another."""


class CDR:
    """The activities of this front end that are not published yet."""

    def __init__(self, settings: FrontEndSettings, policies: Policies) -> None:
        """``policies`` switch call detail records."""
        self._settings = settings
        # A connection of their own: what goes wrong with them is no trouble of the IMs'.
        name = f"call detail records of front end {settings.front_end}"
        self._publisher = Publisher(settings.amqp_url, name, CDR_EXCHANGE, CDR_QUEUE)
        self._policies = policies
        self._begin_anew()
        self._turn = asyncio.Lock()
        self._unpublished: list[tuple[str, bytes]] = []
        """Ids and bodies of AMQP messages; one of unknown outcome is published again under its id."""

    def _begin_anew(self) -> None:
        self._slices: dict[int, dict[_Key, Activity]] = {}
        """Activities by slice of time."""
        self._sessions: list[Activity] = []
        self._count = self._bytes = 0
        """Activities in both, and bytes of their names."""
        self._slice: dict[_Key, Activity] = {}
        """The slice of the last IM."""
        self._begin = self._end = 0
        """The least id of an IM in that slice, and the first beyond it."""

    def _turn_to(self, milliseconds: int) -> None:
        """Go on with the slice of a time."""
        number = milliseconds // _SLICE_MILLISECONDS
        self._slice = self._slices.setdefault(number, {})
        self._begin, self._end = (each * _SLICE_MILLISECONDS << 80 for each in (number, number + 1))

    def note_im(self, im: CheckedIM, decision: Decision) -> None:
        """Count an IM that may be delivered."""
        if not self._begin <= im.id.int < self._end:  # its first bits are the time
            self._turn_to(milliseconds_of(im.id))
        key = (im.conversation, im.sender, im.recipients, im.client)
        activity = self._slice.get(key)
        if activity is None:
            if not self._may_gather():
                return
            self._count += 1
            self._bytes += weigh_texts(im.conversation, im.sender, im.client, *im.recipients)
            activity = self._slice[key] = Activity(
                conversation=im.conversation,
                sender=im.sender,
                recipients=im.recipients,
                scope=decision.scope,
                pool=self._settings.pool,
                client=im.client[:_MAX_CLIENT],
                first=im.sent_at,
                last=im.sent_at,
            )
        elif im.sent_at > activity.last:
            activity.last = im.sent_at
        elif im.sent_at < activity.first:
            activity.first = im.sent_at
        if decision.archive:
            activity.archived += 1
        else:
            activity.passed[decision.rule] = activity.passed.get(decision.rule, 0) + 1

    def note_session(self, activity: Activity, connector: str) -> None:
        """Note that a connector's session begins or ends.

        Its client's texts are cut to the length of an IM's; its key is filed as an IM's is.
        """
        activity.conversation = conversation_key(connector, activity.conversation[:MAX_CONVERSATION])
        self.note(activity)

    def note(self, activity: Activity) -> None:
        """Note an activity of a session, or an attempt to talk past the archive."""
        if self._may_gather():
            activity.client = activity.client[:_MAX_CLIENT]
            activity.ended = activity.ended[:_MAX_ENDED]
            self._count += 1
            self._bytes += weigh_texts(activity.conversation, activity.sender, *activity.recipients)
            self._sessions.append(activity)

    def _may_gather(self) -> bool:
        policy = self._policies.current
        if policy is not None and not policy.cdr:
            return False
        if self._count < _MAX_GATHERED and self._bytes < _MAX_GATHERED_BYTES:
            return True
        CDR_LOST.inc()
        return False

    async def run(self) -> None:
        """Publish activities, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._publisher.run())
            group.create_task(self._publish_now_and_then())

    async def _publish_now_and_then(self) -> None:
        while True:
            raise_if_cancelled()
            await asyncio.sleep(_EVERY_SECONDS)
            if self._publisher.connected.is_set():
                await self._publish()

    async def drain(self) -> None:
        """Publish the last activities, if the broker takes them."""
        await self._publish()
        if self._unpublished:
            log.error("call detail records are lost", extra={"messages": len(self._unpublished)})

    async def _publish(self) -> None:
        """Publish all activities; those that the broker does not take are tried again."""
        async with self._turn:
            await self._publish_all()

    async def _publish_all(self) -> None:
        if len(self._unpublished) < _MAX_UNPUBLISHED:
            activities = [each for some in self._slices.values() for each in some.values()]
            activities += self._sessions
            self._begin_anew()
            for place in range(0, len(activities), _MAX_MESSAGE):
                for body in _encode(activities[place : place + _MAX_MESSAGE]):
                    self._unpublished.append((str(make_id()), body))
        while self._unpublished:
            message_id, body = self._unpublished[0]
            try:
                await self._publisher.publish(body, {}, CDR_TYPE, message_id, seconds=_PUBLISH_SECONDS)
            except (RefusedError, UnknownError) as error:
                log.warning("call detail records wait", extra={"error": str(error)[:200]})
                return
            self._unpublished.pop(0)


def _encode(activities: Sequence[Activity]) -> Iterator[bytes]:
    """Yield the bodies of as many AMQP messages as it takes for none to be too long."""
    body = encode_activities(activities)
    if len(body) <= _MAX_BYTES or len(activities) == 1:
        yield body
    else:
        half = len(activities) // 2
        yield from _encode(activities[:half])
        yield from _encode(activities[half:])
