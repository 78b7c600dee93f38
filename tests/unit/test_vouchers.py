"""What an edge brings back is believed only if we gave it this connector, for this, not long ago."""

import time

import pytest

from frontend.listeners.sip.vouchers import VoucherError, Vouchers
from runtime.token import Connector, hash_token


def _connector(name: str) -> Connector:
    return Connector(name=name, hash=hash_token(name), pool="pool1", domains=frozenset({"contoso.com"}))


EDGE, CHAT = _connector("edge"), _connector("chat")


def _vouchers(*connectors: Connector, shared: str = "t") -> Vouchers:
    return Vouchers(connectors or (EDGE, CHAT), shared)


def test_a_voucher_is_good_at_every_front_end_of_the_pool() -> None:
    voucher = _vouchers().give(EDGE, "toast", "yes", about="hello", seconds=60)
    assert _vouchers(CHAT, EDGE).take(EDGE, "toast", voucher, about="hello") == "yes"


def test_a_voucher_is_good_for_nothing_else() -> None:
    vouchers = _vouchers()
    voucher = vouchers.give(EDGE, "toast", "no", about="hello", seconds=60)
    expired = vouchers.give(EDGE, "toast", "no", about="hello", seconds=-1)
    later = voucher.replace(voucher.split(".")[1], str(int(time.time()) + 9999))
    for connector, kind, brought, about in (
        (CHAT, "toast", voucher, "hello"),
        (EDGE, "untold", voucher, "hello"),
        (EDGE, "toast", voucher, "hello again"),
        (EDGE, "toast", voucher.replace("no", "yes"), "hello"),
        (EDGE, "toast", later, "hello"),
        (EDGE, "toast", expired, "hello"),
        (EDGE, "toast", "", "hello"),
        (EDGE, "toast", "no.x.\u00e9", "hello"),
    ):
        with pytest.raises(VoucherError):
            vouchers.take(connector, kind, brought, about=about)


def test_who_does_not_know_all_that_front_ends_know_makes_none() -> None:
    voucher = _vouchers(EDGE, shared="guessed").give(EDGE, "toast", "yes", seconds=60)
    with pytest.raises(VoucherError):
        _vouchers().take(EDGE, "toast", voucher)
