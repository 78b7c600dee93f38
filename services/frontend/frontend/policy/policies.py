"""The policy as this front end holds it: from the admin API, kept on disk, changed within a second.

A front end that starts goes by none until the admin API has said which counts, or doesn't say it in time.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Final, Literal, NamedTuple
from uuid import UUID

import aio_pika
import msgspec

from contract.check_in import CheckIn, CheckInAnswer
from contract.policy import (
    NO_POLICY_RULE,
    RULES,
    SAFE_SIDE_RULES,
    STALE_RULE,
    UNCONFIRMED_RULE,
    Policy,
)
from contract.policy_digest import digest_of, sum_of
from contract.topology import POLICY_EXCHANGE
from frontend.config import FrontEndSettings
from frontend.metrics import POLICY_CONFIRMED, POLICY_VERSION
from frontend.policy.file import note_confirmed, read_newest, write_policy
from frontend.policy.source import SOURCE_ERRORS, PolicySource
from runtime.broker import BrokerAddress
from runtime.broker_connection import PlainConnection, close, raise_if_cancelled

log = logging.getLogger("frontend")

_CHECK_IN_SECONDS: Final = 5.0
_FIRST_SECONDS: Final = 5.0
"""If no check-in was answered so long after the start, none will be: the last policy on disk counts."""
_FETCH_SECONDS: Final = 10.0
"""For so long a policy that is known to be outdated still decides, as the one that counts is on its way."""
_JUDGE_SECONDS: Final = 0.5
_SAVE_SECONDS: Final = 2.0
_NOTE_SECONDS: Final = 60.0
"""So often it is noted on disk that a policy still counts."""
_DIGEST_SECONDS: Final = 60.0
_DIGEST_USERS: Final = 500
"""At a time: half a millisecond, which no IM notices."""
_RETRY_SECONDS: Final = 1.0
_CONNECT_SECONDS: Final = 3.0


class _Moment(NamedTuple):
    """A moment by both clocks: the one may be set back, the other stands while the machine sleeps."""

    time: float
    """Seconds since 1970."""
    monotonic: float

    @staticmethod
    def now() -> "_Moment":
        return _Moment(time.time(), time.monotonic())

    @property
    def age(self) -> float:
        """Seconds since then, by the clock that says more."""
        return max(time.time() - self.time, time.monotonic() - self.monotonic)


_NEVER: Final = _Moment(-math.inf, -math.inf)


class Policies:
    """Holds the current policy; a reader sees a whole version or the one before."""

    def __init__(self, settings: FrontEndSettings, folder: Path) -> None:
        """Begin with the newest policy on disk, in the slot ``folder`` or one beside it."""
        self._settings = settings
        self._nodes = BrokerAddress(settings.amqp_url)
        self._slot = folder
        self._look = asyncio.Event()
        self._namesakes = 0
        self._to_keep = asyncio.Event()
        self._held: Policy | None = None
        self.digest: str | None = None
        """Digest of the policy held; None until it is made."""
        self._started = time.monotonic()
        self._has_confirmed = False
        """True once the admin API has confirmed, since the start, that the policy held counts."""
        self._outdated = math.inf
        """Since when, by the monotonic clock, it says that another one does; infinity while it doesn't."""
        self._confirmed = _NEVER
        """When it last has that the policy held counts, before the start too."""
        self._noted = -math.inf
        """When that was last noted on disk, by the monotonic clock."""
        self._on_disk: Policy | None = None
        """The policy in our slot, as far as it is known."""
        self.current: Policy | None = None
        """The policy that decides: the one held, if it may, or that with ``safe_side``."""
        self._judged: tuple[Policy | None, str] = (None, "")
        """The policy held and its safe side when that was judged last."""
        self._load()
        self._judge()

    @property
    def version(self) -> int:
        """Version of the policy held, 0 without one."""
        return self._held.settings.version if self._held is not None else 0

    @property
    def stamp(self) -> UUID | None:
        """Stamp of that version."""
        return self._held.settings.stamp if self._held is not None else None

    @property
    def source(self) -> Literal["admin-api", "snapshot", "none"]:
        """Where the policy held is from: a snapshot until the admin API has confirmed it."""
        return "admin-api" if self._has_confirmed else "none" if self._held is None else "snapshot"

    @property
    def trouble(self) -> str:
        """Why everything is archived in spite of policy; empty if it isn't."""
        rule = NO_POLICY_RULE if self.current is None else self.current.safe_side
        return (RULES | SAFE_SIDE_RULES)[rule] if rule else ""

    def _load(self) -> None:
        kept = read_newest(self._slot)
        if kept is None:
            log.warning("no policy yet: every IM is archived")
            return
        self._hold(kept.policy)
        age = max(time.time() - kept.confirmed, 0)
        self._confirmed = _Moment(kept.confirmed, time.monotonic() - age)
        if self._settings.admin_api_url is not None and age < math.inf:
            POLICY_CONFIRMED.set(kept.confirmed)
        if kept.is_own:
            self._on_disk = self._held

    def _judge(self) -> None:
        """Have the policy held decide, or the safe side; log a change."""
        policy, rule = self._held, self._find_safe_side()
        if policy is None or (policy is self._judged[0] and rule == self._judged[1]):
            return
        self._judged = policy, rule
        self.current = msgspec.structs.replace(policy, safe_side=rule) if rule else policy
        POLICY_VERSION.set(0 if rule else policy.settings.version)
        if rule:
            log.warning("everything is archived", extra={"rule": rule, "why": SAFE_SIDE_RULES[rule]})
        else:
            log.info("policy decides", extra={"version": policy.settings.version, "source": self.source})

    def _find_safe_side(self) -> str:
        """Return the rule by which everything is archived now, empty if the policy held may decide.

        Without an admin API the policy on disk counts, whatever its source.
        """
        if self._settings.admin_api_url is None:
            return ""
        now = time.monotonic()
        if not self._has_confirmed and (self._outdated <= now or now - self._started < _FIRST_SECONDS):
            return UNCONFIRMED_RULE
        if now - self._outdated > _FETCH_SECONDS:
            return UNCONFIRMED_RULE
        return STALE_RULE if self._confirmed.age > self._settings.policy_max_age_seconds else ""

    async def run(self, check_in: Callable[[], CheckIn]) -> None:
        """Keep the policy current until cancelled; ``check_in`` tells how this front end is."""
        if self._settings.admin_api_url is None:
            log.warning("no LCS_ADMIN_API_URL: the policy stays as it is")
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_current(str(self._settings.admin_api_url), check_in))
            group.create_task(self._judge_now_and_then())
            group.create_task(self._make_digests())
            group.create_task(self._hear_announcements())
            group.create_task(self._save())

    async def _judge_now_and_then(self) -> None:
        while True:
            self._judge()
            await asyncio.sleep(_JUDGE_SECONDS)

    async def _make_digests(self) -> None:
        """Make the digest of the policy held, now and then, a few users at a time."""
        while True:
            policy = self._held
            if policy is not None and self.digest is None:
                total, users = 0, iter(policy.users.items())
                while some := list(islice(users, _DIGEST_USERS)):
                    total += sum_of(some)
                    await asyncio.sleep(0)
                if policy is self._held:
                    self.digest = digest_of(policy.settings, total)
            policy = None  # else one that was replaced would stay in memory
            await asyncio.sleep(_DIGEST_SECONDS)

    async def _keep_current(self, url: str, check_in: Callable[[], CheckIn]) -> None:
        """Check in now and then, and after each announcement; fetch the policy if it is new."""
        source = PolicySource(self._settings, url)
        trouble = ""
        try:
            while True:
                wait = _CHECK_IN_SECONDS
                self._look.clear()
                try:
                    await self._look_for_news(source, check_in)
                    trouble = ""
                except SOURCE_ERRORS as error:
                    if repr(error) != trouble:  # else it is known: a long outage needs no line for every try
                        trouble = repr(error)
                        log.warning("no policy from the admin API", extra={"error": trouble[:200]})
                    wait = _RETRY_SECONDS
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._look.wait()
        finally:
            await source.close()

    async def _look_for_news(self, source: PolicySource, check_in: Callable[[], CheckIn]) -> None:
        """Check in; fetch the policy that counts, if it isn't the one held. Raises ``SOURCE_ERRORS``."""
        asked = _Moment.now()
        answer = await source.check_in(check_in())
        if answer.namesakes and not self._namesakes:
            log.warning(
                "another front end has this name: give each its own", extra={"others": answer.namesakes}
            )
        self._namesakes = answer.namesakes
        if not _is_named(self._held, answer):
            if answer.anew:
                log.error("the policy held is not what its version says", extra={"version": self.version})
            self._outdated = min(self._outdated, time.monotonic())
            asked = _Moment.now()
            self._hold(await source.fetch(None if answer.anew else self._held))
            self._confirm(asked)
            self._to_keep.set()
            await source.check_in(check_in())  # tells at once what runs here now
        else:
            self._confirm(asked)

    def _hold(self, policy: Policy) -> None:
        self._held, self.digest = policy, None
        log.info("policy applied", extra={"version": self.version, "flagged_users": len(policy.users)})

    def _confirm(self, asked: "_Moment") -> None:
        """Note that the policy held counted when the admin API was asked."""
        self._confirmed, self._has_confirmed, self._outdated = asked, True, math.inf
        POLICY_CONFIRMED.set(asked.time)
        self._judge()
        if asked.monotonic - self._noted > _NOTE_SECONDS:
            self._to_keep.set()

    async def _hear_announcements(self) -> None:
        """Look for news at once when the admin API announces some. A lost announcement does no harm."""
        trouble = ""
        while True:
            try:
                await self._hear_announcements_once()
                trouble = ""
            except (Exception, asyncio.CancelledError) as error:  # aiormq raises either in mid-opening
                if repr(error) != trouble:  # else it is known
                    trouble = repr(error)
                    log.warning("notices of the policy can't be heard", extra={"error": trouble[:200]})
            raise_if_cancelled()
            await asyncio.sleep(_RETRY_SECONDS)

    async def _hear_announcements_once(self) -> None:
        connection = await aio_pika.connect(
            self._nodes.next_url(),
            connection_class=PlainConnection,
            timeout=_CONNECT_SECONDS,
            heartbeat=10,
            client_properties={"connection_name": f"policy of front end {self._settings.front_end}"},
        )
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                channel = await connection.channel()
                queue = await channel.declare_queue(exclusive=True, auto_delete=True)
                await queue.bind(POLICY_EXCHANGE)
                announcements = queue.iterator(no_ack=True)
                await announcements.consume()
            self._look.set()  # what was said meanwhile was not heard
            async for _ in announcements:
                self._look.set()
        finally:
            await close(connection)

    def keep_in(self, slot: Path) -> None:
        """Keep the policy in another slot from now on."""
        self._slot, self._on_disk = slot, None
        if self._held is not None:
            self._to_keep.set()

    async def _save(self) -> None:
        """Keep the policy on disk, and that it still counts; not every change, and not in the event loop."""
        try:
            while True:
                await self._to_keep.wait()
                self._to_keep.clear()
                await asyncio.to_thread(self._keep)
                await asyncio.sleep(_SAVE_SECONDS)
        finally:
            if self._to_keep.is_set():
                self._keep()

    def _keep(self) -> None:
        confirmed, policy = self._confirmed, self._held  # in this order: of the policy, or of one before
        assert policy is not None
        try:
            if self._on_disk is policy:
                note_confirmed(self._slot, confirmed.time)
            else:
                write_policy(self._slot, policy, confirmed.time)
        except OSError as error:
            log.warning("the policy could not be kept on disk", extra={"error": str(error)})
            self._on_disk = None  # what is there may be anything
        else:
            self._on_disk = policy
        self._noted = confirmed.monotonic


def _is_named(held: Policy | None, answer: CheckInAnswer) -> bool:
    """Return whether the policy held is the one that counts."""
    if held is None or answer.anew:
        return False
    return answer.version == held.settings.version and answer.stamp in (None, held.settings.stamp)
