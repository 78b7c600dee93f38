"""The sender: publishes the spool's IMs, oldest first, then removes them."""

import asyncio
from collections.abc import Callable
from typing import Final

from frontend.config import FrontEndSettings
from frontend.numbering import Numbering
from frontend.publisher import Publisher, RefusedError, UnknownError
from frontend.spool.spool import Spool, SpoolError
from runtime.broker_connection import raise_if_cancelled

_RETRY_SECONDS: Final = 0.05
_DISK_SECONDS: Final = 1.0
"""Seconds for which a disk that fails is left alone."""


class Sender:
    """Empties a spool for as long as the broker takes its IMs."""

    def __init__(
        self,
        settings: FrontEndSettings,
        spool: Spool,
        numbering: Numbering,
        publisher: Publisher,
        note: Callable[[], None],
    ) -> None:
        """``note`` is called when IMs have left the spool, or can't be sent: others may go on."""
        self._settings = settings
        self._spool = spool
        self._numbering = numbering
        self._publisher = publisher
        self._note = note

    async def run(self) -> None:
        """Send, until cancelled."""
        while True:
            raise_if_cancelled()
            await self._spool.filled.wait()
            await self._publisher.connected.wait()
            try:
                await self._send_some()
            except RefusedError:
                await asyncio.sleep(_RETRY_SECONDS)
            except UnknownError:
                continue  # they come again, under a new agent's numbers: the archive knows their ids
            except SpoolError:
                self._note()
                await asyncio.sleep(_DISK_SECONDS)

    async def _send_some(self) -> None:
        spooled = await self._spool.first(self._settings.publish_ims, self._settings.publish_bytes)
        if spooled:
            async with self._numbering.publish_lock:
                await self._numbering.publish([(each.im, each.decision) for each in spooled])
        await self._spool.remove_first()
        self._note()
