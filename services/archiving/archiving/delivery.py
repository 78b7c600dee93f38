"""Deliveries: AMQP messages as a worker received them, apart from the connection that brought them."""

from collections import deque
from typing import NamedTuple

from pika.spec import BasicProperties

from contract.message import COUNT_HEADER, MAX_COUNT, PEOPLE_HEADER


class Delivery(NamedTuple):
    """One AMQP message, not yet acknowledged."""

    epoch: int
    """The consumer's epoch when it came; the tag is void in any other."""
    tag: int
    properties: BasicProperties
    body: bytes
    given_up: bool = False
    """RabbitMQ moved it to ``lcslog.parked``: it was delivered too often."""
    consumed: float = 0
    """Time of arrival: seconds since 1970."""

    @property
    def delivery_count(self) -> int:
        """Return how often it was handed out before and came back: quorum queues count that in a header."""
        count = (self.properties.headers or {}).get("x-delivery-count")
        return count if isinstance(count, int) else 0

    @property
    def published(self) -> float:
        """Return when its front end sent it: seconds since 1970. It came to the queue no earlier."""
        return self.properties.timestamp or self.consumed

    @property
    def ims(self) -> int:
        """Return how many IMs its headers claim; 1 without a sound claim."""
        count = (self.properties.headers or {}).get(COUNT_HEADER)
        return count if isinstance(count, int) and 1 <= count <= MAX_COUNT else 1

    @property
    def people(self) -> int:
        """Return how many recipients its headers claim; as many as IMs without a claim."""
        people = (self.properties.headers or {}).get(PEOPLE_HEADER)
        return people if isinstance(people, int) and people > 0 else self.ims


class Unacknowledged:
    """Deliveries not yet acknowledged. One thread changes them, others may read."""

    def __init__(self) -> None:
        self.ims = 0
        """Count of the IMs in them."""
        self._messages: deque[Delivery] = deque()

    def __bool__(self) -> bool:
        return bool(self._messages)

    @property
    def oldest(self) -> float:
        """Return when the earliest of them was published: seconds since 1970; 0 if there is none."""
        try:
            return self._messages[0].published
        except IndexError:
            return 0

    def add(self, delivery: Delivery) -> None:
        """Add a message."""
        self._messages.append(delivery)
        self.ims += delivery.ims

    def remove(self, tag: int) -> None:
        """Remove the messages up to the one with this tag."""
        while self._messages and self._messages[0].tag <= tag:
            self.ims -= self._messages.popleft().ims

    def clear(self) -> None:
        """Remove all: their channel is gone."""
        self._messages.clear()
        self.ims = 0
