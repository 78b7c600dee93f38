"""Disclaimers: which federated partners must be told, with an IM, that their conversation is archived.

The admin API knows who was told already, whichever front end told them. While it is away partners are told
(twice rather than never), and it learns of that once it is back.
"""

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import httpx
import msgspec

from contract.address import domain_of
from contract.policy import Policy
from frontend.config import FrontEndSettings
from frontend.policies import Policies
from frontend.receipt import Notice, Receipt
from frontend.submission import CheckedIM

log = logging.getLogger("frontend")

_MAX_REMEMBERED: Final = 100_000
_MAX_UNRECORDED: Final = 10_000
_CLAIM_SECONDS: Final = 1.0
"""An IM's answer waits no longer for the admin API."""
_AWAY_SECONDS: Final = 5.0
"""For so long nobody asks an admin API again that did not answer."""

_encoder = msgspec.json.Encoder()


class _Worded(msgspec.Struct, frozen=True):
    partner: str
    language: str
    wording: str


class _Claim(msgspec.Struct, frozen=True, kw_only=True):
    front_end: str
    conversation: str
    im: UUID
    at: datetime
    version: int
    notices: list[_Worded]


class _Untold(msgspec.Struct):
    partners: list[str]


class Disclaimers:
    """Who was told, as far as this front end knows."""

    def __init__(self, settings: FrontEndSettings, policies: Policies) -> None:
        """``policies`` word the notices."""
        self._settings = settings
        self._policies = policies
        self._client: httpx.AsyncClient | None = None
        self._told: OrderedDict[tuple[str, str], UUID] = OrderedDict()
        """Conversation and partner, with the IM that they were told with, or one that came later."""
        self._away_until = 0.0
        self._unrecorded: deque[_Claim | UUID] = deque()
        """Claims, and the IMs whose claims are taken back."""
        self._to_record = asyncio.Event()
        self._telling: set[asyncio.Task[None]] = set()

    def accompany(self, im: CheckedIM, receipt: Receipt) -> Receipt:
        """Return the receipt to answer from: this one, or one that is settled with ``notices`` to deliver."""
        policy = self._policies.current
        decision = receipt.decision
        if (
            policy is None
            or not policy.disclaimer.enabled
            or not decision.archive
            or decision.scope != "federated"
        ):
            return receipt
        notices = [
            notice
            for notice in _word(im, policy)
            if self._told.get((im.conversation, notice.to), im.id) == im.id
        ]
        if not notices:
            return receipt
        accompanied = Receipt(im.id, decision)
        task = asyncio.create_task(self._tell(im, receipt, accompanied, notices, policy.version))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)
        return accompanied

    async def _tell(
        self, im: CheckedIM, receipt: Receipt, accompanied: Receipt, notices: list[Notice], version: int
    ) -> None:
        """Find out who is to be told once the IM is safe: nobody is told of one that is not delivered."""
        fate = await receipt.settled()
        try:
            if fate.kind in ("confirmed", "spooled"):
                untold = await self._claim(
                    _Claim(
                        front_end=self._settings.front_end,
                        conversation=im.conversation,
                        im=im.id,
                        at=datetime.now(UTC),
                        version=version,
                        notices=[_Worded(each.to, each.language, each.text) for each in notices],
                    )
                )
                accompanied.notices = tuple(each for each in notices if each.to in untold)
        finally:
            accompanied.settle(fate)

    async def _claim(self, claim: _Claim) -> Sequence[str]:
        """Return which partners to tell: those whom nobody told, or all if that can't be known now."""
        untold: Sequence[str] = [each.partner for each in claim.notices]
        recorded = False
        if time.monotonic() >= self._away_until:
            try:
                untold = await self._post(claim)
                recorded = True
            except (httpx.HTTPError, msgspec.DecodeError) as error:
                log.warning(
                    "partners are told, though perhaps they were already: the admin API does not say",
                    extra={"error": repr(error)[:200]},
                )
                self._away_until = time.monotonic() + _AWAY_SECONDS
        if not recorded:
            self._record_later(claim)
        for worded in claim.notices:
            if recorded and worded.partner in untold:
                continue  # it may yet fail, and another front end hear of that: the next IM asks again
            self._told[claim.conversation, worded.partner] = claim.im
            if len(self._told) > _MAX_REMEMBERED:
                self._told.popitem(last=False)
        return untold

    def retract(self, im: UUID) -> None:
        """Take back that partners were told with an IM: they could not be. They are told with the next."""
        for key in [key for key, told_with in self._told.items() if told_with == im]:
            del self._told[key]
        self._record_later(im)

    async def _delete(self, im: UUID) -> None:
        if self._client is None:
            raise httpx.ConnectError("no admin API")
        (await self._client.delete(f"/v1/disclaimers/{im}")).raise_for_status()

    async def _post(self, claim: _Claim) -> Sequence[str]:
        if self._client is None:
            raise httpx.ConnectError("no admin API")
        response = await self._client.post(
            "/v1/disclaimers", content=_encoder.encode(claim), headers={"Content-Type": "application/json"}
        )
        return msgspec.json.decode(response.raise_for_status().content, type=_Untold).partners

    def _record_later(self, entry: _Claim | UUID) -> None:
        if len(self._unrecorded) >= _MAX_UNRECORDED:
            _note_lost(self._unrecorded.popleft())
        self._unrecorded.append(entry)
        self._to_record.set()

    async def run(self) -> None:
        """Connect with the admin API, and record what could not be recorded, until cancelled."""
        if self._settings.admin_api_url is None:
            return
        headers = {"Authorization": f"Bearer {self._settings.admin_api_token}"}
        async with httpx.AsyncClient(
            base_url=str(self._settings.admin_api_url),
            headers=headers,
            timeout=_CLAIM_SECONDS,
            trust_env=False,
        ) as self._client:
            try:
                while True:
                    await self._to_record.wait()
                    if not await self._record():
                        await asyncio.sleep(_AWAY_SECONDS)
            finally:
                await self._record_at_last()

    async def _record(self) -> bool:
        """Record what could not be recorded; return whether all is, False at the first that can't be."""
        while self._unrecorded:
            entry = self._unrecorded[0]
            try:
                await (self._delete(entry) if isinstance(entry, UUID) else self._post(entry))
            except httpx.HTTPStatusError as error:
                if error.response.status_code != httpx.codes.UNPROCESSABLE_ENTITY:
                    return False
                _note_lost(entry)  # it never will be
            except (httpx.HTTPError, msgspec.DecodeError):
                return False
            if self._unrecorded and self._unrecorded[0] is entry:
                self._unrecorded.popleft()
        self._to_record.clear()
        return True

    async def _record_at_last(self) -> None:
        """Record what is left, if the admin API takes it now: nobody waits for it any more."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_AWAY_SECONDS):
                await self._record()
        if self._unrecorded:
            log.error("not recorded who was told", extra={"ims": len(self._unrecorded)})


def _note_lost(entry: _Claim | UUID) -> None:
    im = entry if isinstance(entry, UUID) else entry.im
    log.error("not recorded who was told", extra={"im": str(im)})


def _word(im: CheckedIM, policy: Policy) -> list[Notice]:
    """Return what each partner in an IM would be told, by one of ours who takes part."""
    people = dict.fromkeys((im.sender, *im.recipients))
    ours = [address for address in people if domain_of(address) in policy.domains]
    notices: list[Notice] = []
    for address in people:
        domain = domain_of(address)
        if ours and domain not in policy.domains:
            language, text = policy.disclaimer.wording_for(domain)
            notices.append(Notice(address, ours[0], language, text))
    return notices
