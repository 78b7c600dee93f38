"""Where the broker is: one address that names all nodes of its cluster."""

import itertools
import random
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator


class BrokerAddress:
    """The nodes in ``amqp://user:password@host1:5672,host2:5672/vhost``, to be tried in turn.

    The turn starts at random, so that many clients spread over the nodes, and goes on where it was: a node
    that takes connections but does no work is not tried again at once.
    """

    def __init__(self, url: str) -> None:
        """Raises ValueError if it is no such address."""
        if not url.startswith(("amqp://", "amqps://")):
            raise ValueError("an address begins with amqp:// or amqps://")
        scheme, _, rest = url.partition("://")
        authority, slash, path = rest.partition("/")
        login, at, hosts = authority.rpartition("@")
        urls = [f"{scheme}://{login}{at}{host}{slash}{path}" for host in hosts.split(",")]
        for each in urls:
            parts = urlsplit(each)
            if not parts.hostname or parts.port == 0:  # .port raises ValueError if it is no number
                raise ValueError("an address is amqp://user:password@host1:5672,host2:5672/vhost")
        start = random.randrange(len(urls))  # noqa: S311 - spreads load, guards nothing
        self.urls = (*urls[start:], *urls[:start])
        """One address for every node, in the order to try them."""
        self._turn = itertools.cycle(self.urls)
        self.user = unquote(login.partition(":")[0]) or "guest"
        """The user that logs in."""

    def next_url(self) -> str:
        """Return the address of the next node."""
        return next(self._turn)


def _check(url: str) -> str:
    BrokerAddress(url)
    return url


BrokerUrl = Annotated[str, AfterValidator(_check)]
"""A setting that holds a BrokerAddress."""
