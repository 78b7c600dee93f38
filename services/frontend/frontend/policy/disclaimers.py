"""Disclaimers: federated partners must be told, with an IM, that their conversation is archived.

A notice is handed over with the answer to an IM; a partner is told once the connector says so. The admin API
knows both, of all front ends. Memories here of partners told spare it questions. While it does not answer,
memories of notices handed over keep their repetitions few: twice rather than never.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec

from contract.address import domain_of, parse_address, route_of
from contract.disclaimers import Claim, Worded
from contract.policy import Policy
from frontend.config import FrontEndSettings
from frontend.im import CheckedIM
from frontend.policy.notice_records import HandedOver, NoticeRecords, UnansweredError, Word
from frontend.policy.policies import Policies
from frontend.receipt import Notice, Receipt

_MAX_REMEMBERED: Final = 100_000
_MAX_GIVEN: Final = 10_000
_MAX_GIVEN_BYTES: Final = 64 << 20
"""An IM may have hundreds of partners."""
_TOLD_SECONDS: Final = 900.0
"""Seconds until the admin API is asked again: the archive may have been restored to an earlier state."""
_FIRST_SECONDS: Final = 10.0
_LAST_SECONDS: Final = 3600.0
"""Seconds until an unconfirmed notice is handed over again, twice as long each time, from the first to the
last. The admin API has the same (``policy.claim_disclaimers``); here it is for when that does not answer."""
_MAX_SAME: Final = 10
"""So often an IM comes again under other ids until it is taken for another."""

_Who = bytes
"""Tells a conversation and a partner in it from others. Callers choose how long their names are: of so many
only this is remembered, which is as short for all."""


class _Unanswered(msgspec.Struct):
    """A notice that a partner was to be told with an IM while the admin API did not say."""

    im: UUID
    connector: str
    digest: str
    until: float
    """By the monotonic clock: when another IM brings it again."""
    seconds: float
    same: int = 1


class Disclaimers:
    """Words notices, hands them over, and knows which partners were told."""

    def __init__(self, settings: FrontEndSettings, policies: Policies) -> None:
        """``policies`` word the notices."""
        self._settings = settings
        self._policies = policies
        self._records = NoticeRecords(settings)
        self._told: OrderedDict[_Who, float] = OrderedDict()
        """Until when that counts, by the monotonic clock."""
        self._unanswered: OrderedDict[_Who, _Unanswered] = OrderedDict()
        self._given: OrderedDict[UUID, dict[str, HandedOver]] = OrderedDict()
        """To connectors by this front end with an IM, without their word yet."""
        self._given_bytes = 0
        self._telling: set[asyncio.Task[None]] = set()

    def accompany(self, im: CheckedIM, receipt: Receipt, connector: str) -> Receipt:
        """Return the receipt to answer from: this one, or one that is settled with ``notices`` to deliver.

        ``connector``: the name of the connector that gets the answer.
        """
        policy = self._policies.current
        decision = receipt.decision
        if (
            policy is None
            or not policy.settings.disclaimer.enabled
            or not decision.archive
            or decision.scope != "federated"
        ):
            return receipt
        now = time.monotonic()
        notices = [
            notice
            for notice in _word(im, policy)
            if self._told.get(_who_is(im.conversation, notice.to), now) <= now
        ]
        if not notices:
            return receipt
        accompanied = Receipt(im.id, decision)
        claim = Claim(
            front_end=self._settings.front_end,
            connector=connector,
            conversation=im.conversation,
            im=im.id,
            at=datetime.now(UTC),
            version=policy.settings.version,
            notices=[Worded(each.to, each.language, each.text) for each in notices],
        )
        claimed = HandedOver(claim, im.digest().hex())
        task = asyncio.create_task(self._tell(claimed, receipt, accompanied, notices, im.spelled))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)
        return accompanied

    async def _tell(
        self,
        claimed: HandedOver,
        receipt: Receipt,
        accompanied: Receipt,
        notices: list[Notice],
        spelled: Sequence[str],
    ) -> None:
        """Find out which partners to tell, once the IM is safe: no partner is told of one that is not
        delivered."""
        fate = await receipt.settled()
        try:
            if fate.kind in ("confirmed", "spooled"):
                untold = await self._claim(claimed)
                routes = {parse_address(each): route_of(each) for each in reversed(spelled)}
                accompanied.notices = tuple(
                    msgspec.structs.replace(each, to=routes.get(each.to, each.to))
                    for each in notices
                    if each.to in untold
                )
        finally:
            accompanied.settle(fate)

    async def _claim(self, claimed: HandedOver) -> Sequence[str]:
        """Return the partners to tell: as the admin API says or, if it does not answer, all that may not
        know."""
        claim = claimed.claim
        everybody = [each.partner for each in claim.notices]
        try:
            standing = await self._records.claim(claim, claimed.digest)
        except UnansweredError as error:
            due = [each for each in everybody if self._is_due(_who_is(claim.conversation, each), claimed)]
            if error.noted:  # for all of them: a word of this IM will be one about all
                due = everybody
            given = self._give(claimed, due)
            if given is not None:
                self._records.note(given)
            return due
        for each in everybody:
            self._unanswered.pop(_who_is(claim.conversation, each), None)
        self._note_told(claim.conversation, standing.told)
        self._give(claimed, standing.partners)
        return standing.partners

    def _is_due(self, who: _Who, claimed: HandedOver) -> bool:
        """Return True, and note it, if a partner is to be told with an IM while the admin API does not
        answer."""
        now = time.monotonic()
        im, connector, digest = claimed.claim.im, claimed.claim.connector, claimed.digest
        before = self._unanswered.pop(who, None)
        due = True
        if before is None:
            before = _Unanswered(im, connector, digest, now + _FIRST_SECONDS, _FIRST_SECONDS)
        elif before.connector == connector and before.digest == digest and before.same < _MAX_SAME:
            before.same += before.im != im
            before.im = im
        elif now >= before.until:
            seconds = min(2 * before.seconds, _LAST_SECONDS)
            before = _Unanswered(im, connector, digest, now + seconds, seconds)
        else:
            due = False
        self._unanswered[who] = before
        if len(self._unanswered) > _MAX_REMEMBERED:
            self._unanswered.popitem(last=False)
        return due

    def _give(self, claimed: HandedOver, partners: Sequence[str]) -> HandedOver | None:
        """Remember the notices that a connector is handed now; return them, None if there are none."""
        if not partners:
            return None
        claim = claimed.claim
        notices = [each for each in claim.notices if each.partner in partners]
        given = HandedOver(msgspec.structs.replace(claim, notices=notices), claimed.digest)
        of_im = self._given.setdefault(claim.im, {})
        before = of_im.get(claim.connector)
        self._given_bytes += given.size - (before.size if before is not None else 0)
        of_im[claim.connector] = given
        while len(self._given) > _MAX_GIVEN or self._given_bytes > _MAX_GIVEN_BYTES:
            _, forgotten = self._given.popitem(last=False)
            self._given_bytes -= sum(each.size for each in forgotten.values())
        return given

    def _take_given(self, im: UUID, connector: str) -> HandedOver | None:
        """Forget the notices that this front end handed a connector with an IM, and return them.

        Raises LookupError if only other connectors were handed any, and the admin API is away.
        """
        given = self._given.get(im, {})
        if connector not in given:
            if given and self._records.is_away:
                raise LookupError(im)
            return None
        taken = given.pop(connector)
        self._given_bytes -= taken.size
        if not given:
            del self._given[im]
        for each in taken.claim.notices:
            who = _who_is(taken.claim.conversation, each.partner)
            before = self._unanswered.get(who)
            if before is not None and before.im == im and before.connector == connector:
                del self._unanswered[who]
        return taken

    def _note_told(self, conversation: str, partners: Iterable[str]) -> None:
        until = time.monotonic() + _TOLD_SECONDS
        for partner in partners:
            who = _who_is(conversation, partner)
            self._told[who] = until
            self._told.move_to_end(who)
            if len(self._told) > _MAX_REMEMBERED:
                self._told.popitem(last=False)

    async def confirm(self, im: UUID, connector: str) -> bool:
        """Note that a connector delivered its notices of an IM; return True if that is recorded, False if it
        waits.

        Raises LookupError if this connector was handed nothing with it.
        """
        given = self._take_given(im, connector)
        word = Word(im, connector, told=True, at=datetime.now(UTC))
        try:
            recorded = await self._records.say(word)
        except LookupError:
            if given is None:
                raise
            self._records.note(given)  # the database lost it: it was restored to before
            self._records.note(word)
            recorded = False
        if given is not None:
            self._note_told(given.claim.conversation, [each.partner for each in given.claim.notices])
        return recorded

    async def retract(self, im: UUID, connector: str) -> bool:
        """Take back a connector's notices of an IM: they could not be delivered, and are with the next.

        Return True if that is recorded, False if it waits. Raises LookupError if others were handed them.
        """
        self._take_given(im, connector)
        return await self._records.say(Word(im, connector, told=False, at=datetime.now(UTC)))

    async def run(self) -> None:
        """Record at the admin API all that waits, until cancelled."""
        await self._records.run()


def _who_is(conversation: str, partner: str) -> _Who:
    return hashlib.blake2b(f"{conversation}\0{partner}".encode(), digest_size=16).digest()


def _word(im: CheckedIM, policy: Policy) -> list[Notice]:
    """Return a notice for each partner in an IM, from a participant of ours."""
    people = dict.fromkeys((im.sender, *im.recipients))
    ours = [address for address in people if policy.is_local(address)]
    notices: list[Notice] = []
    for address in people:
        if ours and not policy.is_local(address):
            language, text = policy.settings.disclaimer.wording_for(domain_of(address))
            notices.append(Notice(address, ours[0], language, text))
    return notices
