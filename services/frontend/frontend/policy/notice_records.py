"""Records of notices for the admin API: claimed, handed over, told, or not.

A record that it does not take waits. Only records of one IM and connector keep their order: no record waits
for another's. A record that it will never take is reported to an operator.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from operator import itemgetter
from typing import Final
from uuid import UUID

import httpx
import msgspec

from contract.disclaimers import Claim, Confirmation, Standing
from contract.remembered import weigh_texts
from frontend.config import FrontEndSettings
from frontend.metrics import NOTICES_LOST, NOTICES_WAITING

log = logging.getLogger("frontend")

_MAX_WAITING: Final = 10_000
_MAX_WAITING_BYTES: Final = 64 << 20
"""A claim may have hundreds of partners."""
_WORD_BYTES: Final = 300
_CLAIM_BYTES: Final = 800
_NOTICE_BYTES: Final = 150
"""Bytes of a notice beside its partner; its text is the policy's."""
_CLAIM_SECONDS: Final = 1.0
"""An IM's answer waits no longer for the admin API."""
_MOST_ASKING: Final = 20
"""Questions of a connector that are put to the admin API at once: each takes time of everybody's."""
_AWAY_SECONDS: Final = 5.0
"""Seconds for which an admin API that did not answer is not asked again; waiting records are tried as
often."""
_MAX_REFUSALS: Final = 10
"""So often it may refuse one, and take another's after that, until it is taken to refuse it for ever."""
_AWAY: Final = frozenset({401, 403, 404, 429, 502, 503, 504})
"""Statuses of trouble with the admin API, or the way to it, not with the record."""
_JSON: Final = {"Content-Type": "application/json"}
_encoder = msgspec.json.Encoder()


class HandedOver(msgspec.Struct, frozen=True):
    """Notices that a connector has; ``digest`` is the IM's, whatever its id."""

    claim: Claim
    digest: str

    @property
    def size(self) -> int:
        """How many bytes it holds, about."""
        partners = [each.partner for each in self.claim.notices]
        texts = weigh_texts(self.claim.conversation, self.digest, *partners)
        return _CLAIM_BYTES + _NOTICE_BYTES * len(partners) + texts


class Word(msgspec.Struct, frozen=True):
    """A connector's word of its notices of an IM: partners were told, or could not be."""

    im: UUID
    connector: str
    told: bool
    at: datetime


class UnansweredError(Exception):
    """The admin API does not say which partners to tell."""

    def __init__(self, *, noted: bool) -> None:
        """``noted``: it may have taken the claim all the same."""
        super().__init__()
        self.noted = noted


_Entry = HandedOver | Word
_Key = tuple[UUID, str]
"""An IM, and the connector that was handed notices with it."""


class _Waiting(msgspec.Struct):
    """The records of an IM and a connector that wait, in their order."""

    entries: deque[_Entry]
    refusals: int = 0
    taken: int = 0
    """The number of others' records that the admin API had taken when it refused this one last."""
    size: int = 0
    """Bytes of all that was noted."""


class NoticeRecords:
    """The way to the admin API, and the records that wait for it."""

    def __init__(self, settings: FrontEndSettings) -> None:
        """Where the admin API is, and by which token."""
        self._settings = settings
        self._client: httpx.AsyncClient | None = None
        self._away_until = 0.0
        self._taken = 0
        self._asking: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(_MOST_ASKING)
        )
        """By connector."""
        self._waiting: OrderedDict[_Key, _Waiting] = OrderedDict()
        self._waiting_bytes = 0
        self._of: Counter[str] = Counter()
        """Bytes that wait, by connector."""
        self._to_record = asyncio.Event()

    @property
    def is_away(self) -> bool:
        """True while the admin API is not asked, as it did not answer."""
        return self._client is None or time.monotonic() < self._away_until

    async def claim(self, claim: Claim, digest: str) -> Standing:
        """Return the partners to tell with an IM. Raises UnansweredError."""
        if self.is_away:
            raise UnansweredError(noted=False)
        try:
            async with self._turn(claim.connector):
                response = await self._request("POST", "", claim, digest=digest)
            return msgspec.json.decode(response.content, type=Standing)
        except TimeoutError:
            raise UnansweredError(noted=False) from None
        except (httpx.HTTPError, msgspec.DecodeError) as error:
            status = _status_of(error)
            if status in _AWAY or not status:
                self._away_until = time.monotonic() + _AWAY_SECONDS
            log.warning(
                "partners are told, though perhaps they were already: the admin API does not say",
                extra={"error": repr(error)[:200]},
            )
            raise UnansweredError(noted=status in (0, 502, 504)) from None

    async def say(self, word: Word) -> bool:
        """Pass on a connector's word; return whether it is recorded, or else waits.

        Raises LookupError if the admin API does not know that this connector was handed anything.
        """
        if (
            word.im,
            word.connector,
        ) not in self._waiting and not self.is_away:  # else what comes first goes first
            try:
                async with self._turn(word.connector):
                    await self._send(word)
            except (TimeoutError, httpx.HTTPError) as error:
                log.warning("a connector's word waits", extra={"error": repr(error)[:200]})
            else:
                return True
        self.note(word)
        return False

    def note(self, entry: _Entry) -> None:
        """Have something recorded as soon as may be."""
        key = _key_of(entry)
        waiting = self._waiting.get(key)
        if waiting is None:
            waiting = self._waiting[key] = _Waiting(deque(), taken=self._taken)
        waiting.entries.append(entry)
        size = entry.size if isinstance(entry, HandedOver) else _WORD_BYTES
        waiting.size += size
        self._waiting_bytes += size
        self._of[key[1]] += size
        while len(self._waiting) > _MAX_WAITING or self._waiting_bytes > _MAX_WAITING_BYTES:
            self._lose(self._first_of_most())
        self._tell_waiting()

    async def run(self) -> None:
        """Record at the admin API all that waits, until cancelled."""
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
                    await self._record()
                    if self._waiting:
                        await asyncio.sleep(_AWAY_SECONDS)
            finally:
                await self._record_at_last()

    @asynccontextmanager
    async def _turn(self, connector: str) -> AsyncIterator[None]:
        """Wait until a connector may ask something more. Raises TimeoutError: it has asked too much."""
        asking = self._asking[connector]
        async with asyncio.timeout(_CLAIM_SECONDS):
            await asking.acquire()
        try:
            yield
        finally:
            asking.release()

    async def _record(self) -> None:
        """Try each record that waits once, until the admin API is away."""
        for key in list(self._waiting):
            if not await self._record_those_of(key):
                break
        self._tell_waiting()

    async def _record_those_of(self, key: _Key) -> bool:
        """Record all that waits of an IM and a connector; return False if the admin API is away."""
        waiting = self._waiting.get(key)
        while waiting is not None and waiting.entries:
            entry = waiting.entries[0]
            try:
                await self._send(entry)
            except LookupError:
                log.warning("confirmed was a notice that nobody has", extra={"im": str(key[0])})
            except httpx.HTTPError as error:
                return self._put_behind(key, waiting, _status_of(error))
            if waiting.entries and waiting.entries[0] is entry:
                waiting.entries.popleft()
        if waiting is not None and self._waiting.get(key) is waiting:
            self._forget(key)
        return True

    def _put_behind(self, key: _Key, waiting: _Waiting, status: int) -> bool:
        """Have others go first, or give up a record that is refused for good; return False if the admin API
        is away.

        ``status``: the refusal's, 0 if there was none.
        """
        if self._waiting.get(key) is waiting:
            self._waiting.move_to_end(key)
        if not status or status in _AWAY:
            return False
        if self._taken > waiting.taken:
            waiting.taken = self._taken
            waiting.refusals += 1
        if self._waiting.get(key) is waiting and (status < 500 or waiting.refusals >= _MAX_REFUSALS):
            self._lose(key)
        return True

    async def _send(self, entry: _Entry) -> None:
        """Raises LookupError if there is nothing to confirm, httpx.HTTPError if it is not taken."""
        if isinstance(entry, HandedOver):
            await self._request("POST", "", entry.claim, digest=entry.digest, handed_over="true")
        elif entry.told:
            confirmation = Confirmation(connector=entry.connector, at=entry.at)
            await self._request("POST", f"/{entry.im}/told", confirmation, missing=LookupError)
        else:
            await self._request("DELETE", f"/{entry.im}", connector=entry.connector)

    async def _request(
        self,
        method: str,
        path: str,
        document: Claim | Confirmation | None = None,
        *,
        missing: type[Exception] | None = None,
        **parameters: str,
    ) -> httpx.Response:
        """Return the admin API's answer. Raises httpx.HTTPError, ``missing`` at 404.

        The whole answer takes ``_CLAIM_SECONDS`` at most: httpx gives as long to each of its bytes.

        Fields that an earlier admin API does not know go as parameters, which it passes over.
        """
        if self._client is None:
            raise httpx.ConnectError("no admin API")
        content = None if document is None else _encoder.encode(document)
        headers = None if document is None else _JSON
        try:
            async with asyncio.timeout(_CLAIM_SECONDS):
                response = await self._client.request(
                    method, f"/v1/disclaimers{path}", content=content, headers=headers, params=parameters
                )
        except TimeoutError:
            raise httpx.ReadTimeout("the answer did not end in time") from None
        if missing is not None and response.status_code == httpx.codes.NOT_FOUND:
            raise missing(path)
        response.raise_for_status()
        self._taken += 1
        self._away_until = 0.0
        return response

    def _first_of_most(self) -> _Key:
        """Return the oldest record of the connector with the most that wait: another's is not lost for it."""
        most, _ = max(self._of.items(), key=itemgetter(1))
        return next(key for key in self._waiting if key[1] == most)

    def _forget(self, key: _Key) -> None:
        size = self._waiting.pop(key).size
        self._waiting_bytes -= size
        self._of[key[1]] -= size

    def _lose(self, key: _Key) -> None:
        self._forget(key)
        NOTICES_LOST.inc()
        log.error("not recorded who was told", extra={"im": str(key[0]), "connector": key[1]})

    def _tell_waiting(self) -> None:
        NOTICES_WAITING.set(len(self._waiting))
        if self._waiting:
            self._to_record.set()
        else:
            self._to_record.clear()

    async def _record_at_last(self) -> None:
        """Record the last that wait, if the admin API takes them now."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_AWAY_SECONDS):
                await self._record()
        if self._waiting:
            log.error("not recorded who was told", extra={"ims": len(self._waiting)})


def _status_of(error: Exception) -> int:
    """Return the status with which the admin API refused, 0 if it is unknown that it did."""
    return error.response.status_code if isinstance(error, httpx.HTTPStatusError) else 0


def _key_of(entry: _Entry) -> _Key:
    of = entry.claim if isinstance(entry, HandedOver) else entry
    return of.im, of.connector
