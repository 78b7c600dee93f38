"""Waiting IMs: taken in and not safe yet, each connector's in order, with their number and bytes."""

import asyncio
from collections import deque
from collections.abc import Iterator

import msgspec

from frontend.config import FrontEndSettings
from frontend.im import CheckedIM
from frontend.receipt import Receipt


class Lane:
    """The IMs of one connector that wait."""

    def __init__(self) -> None:
        self.queue: deque[Pending] = deque()
        """IMs that wait for their lane's turn."""
        self.ims = 0
        """IMs in the queue, and those on their way to disk."""
        self.bytes = 0
        self.has_room = asyncio.Event()
        """Set while the connector may bring more."""
        self.has_room.set()


class Pending(msgspec.Struct, eq=False, gc=False):
    """An IM that waits."""

    im: CheckedIM
    receipt: Receipt
    deadline: float
    lane: Lane
    to_disk: bool = False
    """True once it has been handed to the spool."""
    written: "asyncio.Future[None] | None" = None
    """Done once the spool's disk has it, or has failed."""

    @property
    def on_disk(self) -> bool:
        """True once the spool has it, and sends it."""
        return self.written is not None and self.written.done() and self.written.exception() is None


class Waiting:
    """IMs in three places: queued, under way to the broker's confirm, on their way to disk."""

    def __init__(self, settings: FrontEndSettings, connectors: int = 1) -> None:
        """``settings`` bound how many IMs wait, and how many go in an AMQP message.

        ``connectors``: how many there are. One may bring half of all that may wait. The other half is
        divided: each connector's share is free for it, however many IMs the others bring. A single connector
        may bring all.
        """
        self._settings = settings
        self._most, self._most_bytes = settings.max_pending, settings.max_pending_bytes
        if connectors > 1:
            self._most, self._most_bytes = self._most // 2, self._most_bytes // 2
        self._share, self._share_bytes = self._most // connectors, self._most_bytes // connectors
        self._ims = 0
        self._bytes = 0
        self._full = False
        self._lanes: dict[str, Lane] = {}
        self._turns: deque[Lane] = deque()
        """Lanes with queued IMs; the next lane in turn first."""
        self.under_way: list[Pending] = []
        """IMs on their way to the broker's confirm; they came before those of their lane's queue."""
        self.to_disk: set[Pending] = set()
        """IMs on their way to disk, in any order."""

    def __len__(self) -> int:
        return self.queued + len(self.under_way) + len(self.to_disk)

    def __iter__(self) -> Iterator[Pending]:
        queued = [each for lane in self._turns for each in lane.queue]
        return iter((*self.under_way, *queued, *self.to_disk))

    @property
    def queued(self) -> int:
        """The number of IMs in all queues."""
        return sum([len(lane.queue) for lane in self._turns])

    @property
    def has_queued(self) -> bool:
        """True if an IM is queued."""
        return bool(self._turns)

    def lane(self, connector: str) -> Lane:
        """Return a connector's lane."""
        lane = self._lanes.get(connector)
        if lane is None:
            lane = self._lanes[connector] = Lane()
            self._open_lanes()
        return lane

    def add(self, pending: Pending) -> None:
        """Put an IM at the end of its lane's queue."""
        lane = pending.lane
        if not lane.queue:
            self._turns.append(lane)
        lane.queue.append(pending)
        self._count(lane, 1, pending.im.size)

    def take_first(self) -> Pending:
        """Take the oldest IM out of the queue of the next lane in turn."""
        return self._take_of(self._turns.popleft())

    def take_late(self, now: float) -> Iterator[Pending]:
        """Take IMs past their deadline out of the queues, one by one."""
        for lane in list(self._turns):
            while lane.queue and lane.queue[0].deadline <= now:
                self._turns.remove(lane)
                yield self._take_of(lane)

    def _take_of(self, lane: Lane) -> Pending:
        """Take a lane's first IM; the lane was taken out of the turns, and goes to their end."""
        pending = lane.queue.popleft()
        if lane.queue:
            self._turns.append(lane)
        self._count(lane, -1, -pending.im.size)
        return pending

    def begin_publish(self) -> list[Pending]:
        """Move the next AMQP message's IMs from the queues, one of each lane in turn; return them."""
        group: list[Pending] = []
        size = 0
        turns, most, most_bytes = self._turns, self._settings.publish_ims, self._settings.publish_bytes
        while turns and len(group) < most and size < most_bytes:
            lane = turns.popleft()
            queue, ims, bytes_ = lane.queue, len(group), size
            more = True
            while more:
                group.append(queue.popleft())
                size += group[-1].im.size
                # Nobody else waits: it goes on.
                more = not turns and bool(queue) and len(group) < most and size < most_bytes
            if queue:
                turns.append(lane)
            self._count(lane, ims - len(group), bytes_ - size)
        self.under_way = group
        return group

    def put_back(self) -> None:
        """Move the IMs under way that are not given up back to the front of their queues."""
        again = [each for each in self.under_way if each.receipt.fate is None and not each.to_disk]
        self.under_way = []
        for pending in reversed(again):
            if not pending.lane.queue:
                self._turns.append(pending.lane)
            pending.lane.queue.appendleft(pending)
            self._count(pending.lane, 1, pending.im.size)

    def begin_write(self, pending: Pending) -> None:
        """Count an IM among those on their way to disk."""
        self.to_disk.add(pending)
        self._count(pending.lane, 1, pending.im.size)

    def find_unwritten(self, now: float) -> list[Pending]:
        """Return the IMs past their deadline that are not on disk."""
        return [
            each
            for each in self.to_disk
            if each.deadline <= now and each.written is not None and not each.written.done()
        ]

    def end_write(self, pending: Pending) -> None:
        """Count an IM no longer among those on their way to disk."""
        self.to_disk.discard(pending)
        self._count(pending.lane, -1, -pending.im.size)

    def _count(self, lane: Lane, ims: int, size: int) -> None:
        lane.ims += ims
        lane.bytes += size
        self._ims += ims
        self._bytes += size
        if self._full or self._ims >= self._most or self._bytes >= self._most_bytes:
            self._open_lanes()

    def _open_lanes(self) -> None:
        self._full = self._ims >= self._most or self._bytes >= self._most_bytes
        for lane in self._lanes.values():
            if self._full and (lane.ims >= self._share or lane.bytes >= self._share_bytes):
                lane.has_room.clear()
            else:
                lane.has_room.set()
