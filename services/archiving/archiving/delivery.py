"""Deliveries: AMQP messages as a worker received them, apart from the connection that brought them."""

from collections import deque
from typing import NamedTuple

from pika.spec import BasicProperties

from contract.message import COUNT_HEADER, MAX_COUNT, PEOPLE_HEADER


class Delivery(NamedTuple):
    """One AMQP message, not yet acknowledged."""

    epoch: int
    """The consumer's when it came: its tag is void in any other."""
    tag: int
    properties: BasicProperties
    body: bytes
    given_up: bool = False
    """RabbitMQ moved it to ``lcslog.parked``: it was delivered too often."""
    consumed: float = 0
    """When it came: seconds since 1970."""

    @property
    def delivery_count(self) -> int:
        """How often it was given out before and came back (quorum queues count it in a header)."""
        count = (self.properties.headers or {}).get("x-delivery-count")
        return count if isinstance(count, int) else 0

    @property
    def published(self) -> float:
        """When its front end sent it: seconds since 1970; it came to the queue no earlier."""
        return self.properties.timestamp or self.consumed

    @property
    def ims(self) -> int:
        """How many IMs it says it holds; 1 if it doesn't say so sanely."""
        count = (self.properties.headers or {}).get(COUNT_HEADER)
        return count if isinstance(count, int) and 1 <= count <= MAX_COUNT else 1

    @property
    def people(self) -> int:
        """How many recipients its IMs have, if it says so; a front end of before doesn't."""
        people = (self.properties.headers or {}).get(PEOPLE_HEADER)
        return people if isinstance(people, int) and people > 0 else self.ims


class Unacknowledged:
    """Messages taken and not yet acknowledged. One thread changes it, others may read."""

    def __init__(self) -> None:
        """None yet."""
        self.ims = 0
        """IMs in them."""
        self._messages: deque[Delivery] = deque()

    def __bool__(self) -> bool:
        return bool(self._messages)

    @property
    def oldest(self) -> float:
        """When the message taken first was published: seconds since 1970; 0: there is none."""
        try:
            return self._messages[0].published
        except IndexError:
            return 0

    def add(self, delivery: Delivery) -> None:
        """Count a message that was taken."""
        self._messages.append(delivery)
        self.ims += delivery.ims

    def remove(self, tag: int) -> None:
        """Count messages no more, up to the one with this tag."""
        while self._messages and self._messages[0].tag <= tag:
            self.ims -= self._messages.popleft().ims

    def clear(self) -> None:
        """Count none any more: their channel is gone."""
        self._messages.clear()
        self.ims = 0
