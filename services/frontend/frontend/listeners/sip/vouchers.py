"""Vouchers that a front end gives an edge to bring back: signed, and valid for a time.

All front ends of a pool know the key: it is made of their common settings. A connector knows one of these,
its own token, but neither the other connectors' nor the front ends' for the admin API.
"""

import hashlib
import hmac
import time
from collections.abc import Iterable
from typing import Final

from runtime.token import Connector

_DIGEST_BYTES: Final = 16


class VoucherError(ValueError):
    """A voucher that we didn't give this connector, or that is too old."""


class Vouchers:
    """Makes vouchers, and takes them back."""

    def __init__(self, connectors: Iterable[Connector], token: str) -> None:
        """``connectors``: all that front ends of the pool know. ``token``: the front ends' for the admin
        API."""
        secret = "\0".join((token, *sorted(connector.hash for connector in connectors)))
        self._key = hashlib.sha256(secret.encode()).digest()

    def give(self, connector: Connector, kind: str, text: str, *, about: str = "", seconds: int) -> str:
        """Return a voucher that holds ``text``, a word, and is good only with the same ``about``."""
        expires = str(int(time.time()) + seconds)
        return f"{text}.{expires}.{self._sign(connector, kind, text, about, expires)}"

    def take(self, connector: Connector, kind: str, voucher: str, *, about: str = "") -> str:
        """Return the text that a voucher holds. Raises VoucherError."""
        text, _, rest = voucher.partition(".")
        expires, _, signature = rest.partition(".")
        if not hmac.compare_digest(
            signature.encode(), self._sign(connector, kind, text, about, expires).encode()
        ):
            raise VoucherError("we did not give it to this connector")
        if int(expires) < time.time():
            raise VoucherError("it is too old")
        return text

    def _sign(self, connector: Connector, kind: str, text: str, about: str, expires: str) -> str:
        signed = "\0".join((connector.name, connector.hash, kind, text, about, expires)).encode()
        return hashlib.blake2b(signed, digest_size=_DIGEST_BYTES, key=self._key).hexdigest()
