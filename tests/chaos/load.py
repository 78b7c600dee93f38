"""Chat systems under test: they send IMs, one by one and in streams, and send again what was refused."""

import json
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import httpx

from contract.message import make_id
from deploy.local.process import wait_for
from tests.chaos.journal import SAFE, Journal

_PAUSE = 0.01
_ANSWER_SECONDS = 8.0
"""What takes longer counts as a hang: the front ends' deadline is 2 s, and two cores do all the rest."""
_STREAM = 40


class Load:
    """Some senders, until ``stop``. Each IM has an id of its own, so that it may be sent again."""

    def __init__(
        self,
        urls: Callable[[], Sequence[str]],
        token: str,
        journal: Journal,
        *,
        senders: int = 3,
        streams: int = 1,
        duplicates: bool = False,
    ) -> None:
        """``urls``: where front ends are now. ``duplicates``: each IM is sent twice, to two front ends."""
        self._urls = urls
        self._headers = {"Authorization": f"Bearer {token}"}
        self._journal = journal
        self._duplicates = duplicates
        self._again: deque[UUID] = deque()
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._number = 0
        self._threads = [threading.Thread(target=self._send_singles) for _ in range(senders)]
        self._threads += [threading.Thread(target=self._send_streams) for _ in range(streams)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Send no more; return when everything under way is answered."""
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def wait_for_safe(self, more: int, *, seconds: float = 60) -> None:
        """Return when so many more IMs than now have been promised to be archived."""
        before = len(self._journal.safe)
        wait_for(lambda: len(self._journal.safe) >= before + more, f"{more} IMs made safe", seconds=seconds)

    def wait_for_answer(self, status: int, more: int = 1, *, seconds: float = 60) -> None:
        """Return when so many more answers than now had a status."""
        before = self._journal.count(status)
        wait_for(
            lambda: self._journal.count(status) >= before + more, f"{more} answers {status}", seconds=seconds
        )

    def _next(self) -> tuple[UUID, int]:
        with self._lock:
            self._number += 1
            return (self._again.popleft() if self._again else make_id()), self._number

    def _document(self, im_id: UUID, number: int) -> dict[str, Any]:
        return {
            "id": str(im_id),
            "sender": f"user{im_id.int % 50}@contoso.com",
            "recipients": ["administrator@contoso.com"],
            "body": f"IM {im_id}",
        }

    def _send_singles(self) -> None:
        with httpx.Client(headers=self._headers, timeout=_ANSWER_SECONDS, trust_env=False) as client:
            while not self._ending.is_set():
                im_id, number = self._next()
                document = self._document(im_id, number)
                urls = self._urls()
                for url in urls[:2] if self._duplicates else [urls[number % len(urls)]]:
                    self._journal.note_sent([im_id])
                    try:
                        status = client.post(f"{url}/v1/messages", json=document).status_code
                    except httpx.TransportError:
                        status = 0
                    self._note(im_id, status)
                self._ending.wait(_PAUSE)

    def _send_streams(self) -> None:
        headers = self._headers | {"Content-Type": "application/x-ndjson"}
        with httpx.Client(headers=headers, timeout=_ANSWER_SECONDS, trust_env=False) as client:
            while not self._ending.is_set():
                items = [self._next() for _ in range(_STREAM)]
                body = "".join(json.dumps(self._document(*item)) + "\n" for item in items)
                urls = self._urls()
                self._journal.note_sent(im_id for im_id, _ in items)
                answered: dict[UUID, int] = {}
                try:
                    url = urls[items[0][1] % len(urls)]
                    for line in client.post(f"{url}/v1/messages", content=body).content.splitlines():
                        answer = json.loads(line)
                        answered[UUID(answer["id"])] = answer["status"]
                except (httpx.TransportError, ValueError, KeyError):
                    pass  # no answer, or half of one
                for im_id, _ in items:
                    self._note(im_id, answered.get(im_id, 0))
                self._ending.wait(_PAUSE)

    def _note(self, im_id: UUID, status: int) -> None:
        self._journal.note_answer(im_id, status)
        if status not in SAFE:
            with self._lock:
                self._again.append(im_id)
