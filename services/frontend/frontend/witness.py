"""The second witness: the admin API is told how far agents got, as a queue may be lost with statements."""

import asyncio
import logging
import time
from typing import Final
from urllib.parse import quote

import httpx
import msgspec

from contract.witness import AgentNumbers, Noted, Numbers
from frontend.config import FrontEndSettings
from frontend.numbering import Numbering

log = logging.getLogger("frontend")

_LOOK_SECONDS: Final = 1.0
_AGAIN_SECONDS: Final = 30.0
"""Seconds until the same is told again: the archive may have been restored to an earlier state."""
_ANSWER_SECONDS: Final = 5.0
_LAST_SECONDS: Final = 1.0
"""Seconds that a front end that ends waits for the answer, at most."""
_encoder = msgspec.json.Encoder()


class Witness:
    """Tells news of agents within two seconds."""

    def __init__(self, settings: FrontEndSettings, numbering: Numbering) -> None:
        self._settings = settings
        self._numbering = numbering
        self._url = f"{settings.admin_api_url or ''}".rstrip("/")
        self._path = f"/v1/front-ends/{quote(settings.front_end, safe='')}/numbers"
        self._told: list[AgentNumbers] = []
        self._told_at = 0.0
        self._trouble = ""

    async def run(self) -> None:
        """Tell, until cancelled."""
        if not self._url:
            return
        async with self._client() as client:
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                await self._tell(client, _ANSWER_SECONDS)

    async def tell_last(self) -> None:
        """Tell the last news; agents that can't be told of now stay in the file of agents."""
        if self._url:
            async with self._client() as client:
                await self._tell(client, _LAST_SECONDS)

    def _client(self) -> httpx.AsyncClient:
        headers = {
            "Authorization": f"Bearer {self._settings.admin_api_token}",
            "Content-Type": "application/json",
        }
        return httpx.AsyncClient(
            base_url=self._url, headers=headers, timeout=_ANSWER_SECONDS, trust_env=False
        )

    async def _tell(self, client: httpx.AsyncClient, seconds: float) -> None:
        numbers = self._numbering.numbers()
        again = time.monotonic() >= self._told_at + _AGAIN_SECONDS
        if not numbers and not self._numbering.told:
            return
        if numbers == self._told and not again:
            return
        try:
            async with asyncio.timeout(seconds):
                content = _encoder.encode(Numbers(pool=self._settings.pool, numbers=numbers))
                answer = (await client.post(self._path, content=content)).raise_for_status()
            incarnation = ""
            if answer.content:  # an admin API of before says nothing
                incarnation = str(msgspec.json.decode(answer.content, type=Noted).incarnation)
        except (httpx.HTTPError, TimeoutError, msgspec.MsgspecError) as error:
            if repr(error) != self._trouble:  # else it is known
                self._trouble = repr(error)
                log.warning(
                    "the admin API can't be told agents' numbers", extra={"error": self._trouble[:200]}
                )
            return
        self._told, self._told_at, self._trouble = numbers, time.monotonic(), ""
        self._numbering.note_told(numbers, incarnation)
