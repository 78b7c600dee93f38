"""Disclaimers: which federated partners must be told, with an IM, that their conversation is archived.

A notice is handed over with the answer to an IM; told is who the connector says was told. The admin API knows
both, whichever front end it was. While it is away notices are handed over (twice rather than never), and it
learns of that once it is back.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple
from uuid import UUID

import httpx
import msgspec

from contract.address import domain_of, parse_address, route_of
from contract.policy import Policy
from frontend.config import FrontEndSettings
from frontend.policies import Policies
from frontend.receipt import Notice, Receipt
from frontend.submission import CheckedIM

log = logging.getLogger("frontend")

_MAX_REMEMBERED: Final = 100_000
_MAX_HANDED_OVER: Final = 10_000
_MAX_UNRECORDED: Final = 10_000
_CLAIM_SECONDS: Final = 1.0
"""An IM's answer waits no longer for the admin API."""
_AWAY_SECONDS: Final = 5.0
"""For so long nobody asks an admin API again that did not answer."""
_ASK_AGAIN_SECONDS: Final = 1.0
"""So long after it said that somebody has the notice who has not confirmed it yet."""
_CONFIRM_SECONDS: Final = 300.0
"""A notice not confirmed by then is handed over again, if the admin API can't be asked."""

_JSON: Final = {"Content-Type": "application/json"}
_encoder = msgspec.json.Encoder()


class _Worded(msgspec.Struct, frozen=True):
    partner: str
    language: str
    wording: str


class _Claim(msgspec.Struct, frozen=True, kw_only=True):
    front_end: str
    connector: str
    conversation: str
    im: UUID
    at: datetime
    version: int
    notices: list[_Worded]


class _Confirmation(msgspec.Struct, frozen=True):
    connector: str
    at: datetime


class _Answer(msgspec.Struct):
    partners: list[str]
    """To be told with this IM."""
    told: list[str] = []
    """Partners told already."""


class _Standing(NamedTuple):
    im: UUID
    """With which it was handed over, or one that came later."""
    until: float
    """When to ask again, by the monotonic clock."""


_Entry = _Claim | UUID | tuple[UUID, _Confirmation]
"""An entry to be recorded: a claim; claims of an IM taken back; claims of an IM confirmed."""


class Disclaimers:
    """Who was told, as far as this front end knows."""

    def __init__(self, settings: FrontEndSettings, policies: Policies) -> None:
        """``policies`` word the notices."""
        self._settings = settings
        self._policies = policies
        self._client: httpx.AsyncClient | None = None
        self._standings: OrderedDict[tuple[str, str], _Standing] = OrderedDict()
        """Of a partner in a conversation that need not be asked about now."""
        self._handed_over: OrderedDict[UUID, tuple[_Claim, Sequence[str]]] = OrderedDict()
        """By this front end, to tell some partners of a claim; not yet confirmed or taken back."""
        self._away_until = 0.0
        self._unrecorded: deque[_Entry] = deque()
        self._to_record = asyncio.Event()
        self._telling: set[asyncio.Task[None]] = set()

    def accompany(self, im: CheckedIM, receipt: Receipt, connector: str) -> Receipt:
        """Return the receipt to answer from: this one, or one that is settled with ``notices`` to deliver.

        ``connector``: the name of who gets the answer.
        """
        policy = self._policies.current
        decision = receipt.decision
        if (
            policy is None
            or not policy.disclaimer.enabled
            or not decision.archive
            or decision.scope != "federated"
        ):
            return receipt
        now = time.monotonic()
        notices = [
            notice for notice in _word(im, policy) if self._is_open((im.conversation, notice.to), im.id, now)
        ]
        if not notices:
            return receipt
        accompanied = Receipt(im.id, decision)
        claim = _Claim(
            front_end=self._settings.front_end,
            connector=connector,
            conversation=im.conversation,
            im=im.id,
            at=datetime.now(UTC),
            version=policy.version,
            notices=[_Worded(each.to, each.language, each.text) for each in notices],
        )
        task = asyncio.create_task(self._tell(claim, receipt, accompanied, notices, im.spelled))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)
        return accompanied

    def _is_open(self, who: tuple[str, str], im: UUID, now: float) -> bool:
        standing = self._standings.get(who)
        return standing is None or standing.im == im or now >= standing.until

    async def _tell(
        self,
        claim: _Claim,
        receipt: Receipt,
        accompanied: Receipt,
        notices: list[Notice],
        spelled: Sequence[str],
    ) -> None:
        """Find out who is to be told once the IM is safe: nobody is told of one that is not delivered."""
        fate = await receipt.settled()
        try:
            if fate.kind in ("confirmed", "spooled"):
                untold = await self._claim(claim)
                routes = {parse_address(each): route_of(each) for each in reversed(spelled)}
                accompanied.notices = tuple(
                    msgspec.structs.replace(each, to=routes.get(each.to, each.to))
                    for each in notices
                    if each.to in untold
                )
        finally:
            accompanied.settle(fate)

    async def _claim(self, claim: _Claim) -> Sequence[str]:
        """Return which partners to tell: those whom nobody told, or all if that can't be known now."""
        answer: _Answer | None = None
        if time.monotonic() >= self._away_until:
            try:
                answer = await self._post(claim)
            except (httpx.HTTPError, msgspec.DecodeError) as error:
                log.warning(
                    "partners are told, though perhaps they were already: the admin API does not say",
                    extra={"error": repr(error)[:200]},
                )
                self._away_until = time.monotonic() + _AWAY_SECONDS
        now = time.monotonic()
        if answer is None:
            self._record_later(claim)
            answer = _Answer([each.partner for each in claim.notices])
            self._note(claim, answer.partners, now + _CONFIRM_SECONDS)
        else:  # of who is told now the next IM asks: it may yet fail, and another front end hear of that
            told = set(answer.told)
            others = [each.partner for each in claim.notices if each.partner not in answer.partners]
            self._note(claim, [each for each in others if each in told], math.inf)
            self._note(claim, [each for each in others if each not in told], now + _ASK_AGAIN_SECONDS)
        if answer.partners:
            self._handed_over[claim.im] = claim, answer.partners
            if len(self._handed_over) > _MAX_HANDED_OVER:
                self._handed_over.popitem(last=False)
        return answer.partners

    def _note(self, claim: _Claim, partners: Iterable[str], until: float) -> None:
        for partner in partners:
            self._standings[claim.conversation, partner] = _Standing(claim.im, until)
            if len(self._standings) > _MAX_REMEMBERED:
                self._standings.popitem(last=False)

    async def confirm(self, im: UUID, connector: str) -> bool:
        """Note that a connector delivered what it was handed with an IM; return whether that is recorded yet.

        Raises LookupError if this connector was handed nothing with it.
        """
        handed_over = self._handed_over.get(im)
        if handed_over is not None and handed_over[0].connector != connector:
            raise LookupError(im)
        confirmation = _Confirmation(connector, datetime.now(UTC))
        recorded = False
        if not self._unrecorded and time.monotonic() >= self._away_until:  # else what comes first goes first
            try:
                await self._post_confirmation(im, confirmation)
                recorded = True
            except httpx.HTTPError as error:
                log.warning("a confirmation waits", extra={"error": repr(error)[:200]})
        if not recorded:
            self._record_later((im, confirmation))
        if handed_over is not None:
            self._note(*handed_over, math.inf)
            self._handed_over.pop(im, None)
        return recorded

    def retract(self, im: UUID) -> None:
        """Take back that partners were told with an IM: they could not be. They are told with the next."""
        handed_over = self._handed_over.pop(im, None)
        if handed_over is not None:
            claim, partners = handed_over
            for partner in partners:
                self._standings.pop((claim.conversation, partner), None)
        self._record_later(im)

    async def _delete(self, im: UUID) -> None:
        (await self._request("DELETE", f"/{im}")).raise_for_status()

    async def _post_confirmation(self, im: UUID, confirmation: _Confirmation) -> None:
        """Raises LookupError if there is nothing to confirm."""
        response = await self._request("POST", f"/{im}/told", confirmation)
        if response.status_code == httpx.codes.NOT_FOUND:
            raise LookupError(im)
        response.raise_for_status()

    async def _post(self, claim: _Claim) -> _Answer:
        response = await self._request("POST", "", claim)
        return msgspec.json.decode(response.raise_for_status().content, type=_Answer)

    async def _request(
        self, method: str, path: str, document: _Claim | _Confirmation | None = None
    ) -> httpx.Response:
        """Return the admin API's answer, whatever its status. Raises httpx.HTTPError if there is none."""
        if self._client is None:
            raise httpx.ConnectError("no admin API")
        content = None if document is None else _encoder.encode(document)
        headers = None if document is None else _JSON
        return await self._client.request(method, f"/v1/disclaimers{path}", content=content, headers=headers)

    def _record_later(self, entry: _Entry) -> None:
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
                await self._record_one(entry)
            except httpx.HTTPError as error:
                if _status_of(error) != httpx.codes.UNPROCESSABLE_ENTITY:
                    return False
                _note_lost(entry)  # it never will be
            except LookupError:
                log.warning("confirmed was a notice that nobody has", extra={"entry": str(entry)})
            except msgspec.DecodeError:
                return False
            if self._unrecorded and self._unrecorded[0] is entry:
                self._unrecorded.popleft()
        self._to_record.clear()
        return True

    async def _record_one(self, entry: _Entry) -> None:
        if isinstance(entry, _Claim):
            await self._post(entry)
        elif isinstance(entry, UUID):
            await self._delete(entry)
        else:
            await self._post_confirmation(*entry)

    async def _record_at_last(self) -> None:
        """Record what is left, if the admin API takes it now: nobody waits for it any more."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_AWAY_SECONDS):
                await self._record()
        if self._unrecorded:
            log.error("not recorded who was told", extra={"ims": len(self._unrecorded)})


def _status_of(error: httpx.HTTPError) -> int:
    """Return with what the admin API refused, 0 if it did not answer."""
    return error.response.status_code if isinstance(error, httpx.HTTPStatusError) else 0


def _note_lost(entry: _Entry) -> None:
    im = entry.im if isinstance(entry, _Claim) else entry if isinstance(entry, UUID) else entry[0]
    log.error("not recorded who was told", extra={"im": str(im)})


def _word(im: CheckedIM, policy: Policy) -> list[Notice]:
    """Return what each partner in an IM would be told, by one of ours who takes part."""
    people = dict.fromkeys((im.sender, *im.recipients))
    ours = [address for address in people if policy.is_local(address)]
    notices: list[Notice] = []
    for address in people:
        if ours and not policy.is_local(address):
            language, text = policy.disclaimer.wording_for(domain_of(address))
            notices.append(Notice(address, ours[0], language, text))
    return notices
