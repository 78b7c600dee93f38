"""What waits: IMs taken in that are not safe yet, in the order they came, and how much they are."""

import asyncio
from collections import deque
from collections.abc import Iterator

import msgspec

from frontend.config import FrontEndSettings
from frontend.receipt import Receipt
from frontend.submission import CheckedIM


class Pending(msgspec.Struct, eq=False, gc=False):
    """An IM that waits."""

    im: CheckedIM
    receipt: Receipt
    deadline: float
    to_disk: bool = False
    """Whether it has been handed to the spool."""


class Waiting:
    """IMs by what they wait for: their turn, the broker's confirm, or this front end's disk."""

    def __init__(self, settings: FrontEndSettings) -> None:
        """``settings`` bound how many they may be, and how many go in an AMQP message."""
        self._settings = settings
        self._most, self._most_bytes = settings.max_pending, settings.max_pending_bytes
        self._bytes = 0
        self._full = False
        self.queue: deque[Pending] = deque()
        """For their turn."""
        self.under_way: list[Pending] = []
        """For the broker's confirm; they came before those in the queue."""
        self.to_disk: set[Pending] = set()
        """For the disk, in any order."""
        self.room = asyncio.Event()
        """Set while there may be more."""
        self.room.set()

    def __len__(self) -> int:
        return len(self.queue) + len(self.under_way) + len(self.to_disk)

    def __iter__(self) -> Iterator[Pending]:
        return iter((*self.under_way, *self.queue, *self.to_disk))

    def add(self, pending: Pending) -> None:
        """Put an IM at the queue's end."""
        self.queue.append(pending)
        self._bytes += pending.im.size
        self._note_room()

    def take_first(self) -> Pending:
        """Take the oldest IM out of the queue."""
        pending = self.queue.popleft()
        self._bytes -= pending.im.size
        self._note_room()
        return pending

    def begin_publish(self) -> list[Pending]:
        """Move from the queue what goes in one AMQP message; return it."""
        group: list[Pending] = []
        size = 0
        queue, most, most_bytes = self.queue, self._settings.publish_ims, self._settings.publish_bytes
        while queue and len(group) < most and size < most_bytes:
            group.append(queue.popleft())
            size += group[-1].im.size
        self._bytes -= size
        self._note_room()
        self.under_way = group
        return group

    def put_back(self) -> None:
        """Move what is under way, and not given up, to the queue again, before all else."""
        again = [each for each in self.under_way if each.receipt.fate is None and not each.to_disk]
        self.under_way = []
        self.queue.extendleft(reversed(again))
        self._bytes += sum(each.im.size for each in again)

    def begin_write(self, pending: Pending) -> None:
        """Count an IM among those that wait for the disk."""
        self.to_disk.add(pending)
        self._bytes += pending.im.size
        self._note_room()

    def end_write(self, pending: Pending) -> None:
        """Count an IM among them no more."""
        self.to_disk.discard(pending)
        self._bytes -= pending.im.size
        self._note_room()

    def _note_room(self) -> None:
        waiting = len(self.queue) + len(self.to_disk)
        if waiting >= self._most or self._bytes >= self._most_bytes:
            self.room.clear()
            self._full = True
        elif self._full:
            self.room.set()
            self._full = False
