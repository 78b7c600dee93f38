"""Different people who look alike are shown as such, and nobody else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admin_api.names.looks import Look, look_of, looks_of
from contract.address import AddressError, parse_address


@pytest.mark.parametrize(
    ("text", "shown", "mixed", "like"),
    [
        ("\u0430nna@contoso.com", None, ["Cyrillic", "Latin"], "sip:anna@contoso.com"),
        ("\u0441\u043e\u0441\u043e@contoso.com", None, None, "sip:coco@contoso.com"),
        ("b\u043fb@contoso.com", None, ["Cyrillic", "Latin"], None),
        ("bob@c\u043entoso.com", "sip:bob@c\u043entoso.com", ["Cyrillic", "Latin"], "sip:bob@contoso.com"),
        ("b\u0131ll@contoso.com", None, None, "sip:bill@contoso.com"),
        ("ann@b\u00fcro.example", "sip:ann@b\u00fcro.example", None, None),
    ],
)
def test_who_may_be_taken_for_another_is_shown(
    text: str, shown: str | None, mixed: list[str] | None, like: str | None
) -> None:
    look = look_of(parse_address(text))
    assert look is not None
    assert (look.shown, look.mixed_scripts or None, look.looks_like) == (shown, mixed, like)
    assert look.model_dump().keys() == {"address"} | {
        name for name, value in (("shown", shown), ("mixed_scripts", mixed), ("looks_like", like)) if value
    }


@pytest.mark.parametrize(
    "text",
    [
        "bob@contoso.com",
        "jos\u00e9@contoso.com",
        "\u0434\u043c\u0438\u0442\u0440\u0438\u0439@contoso.com",
        "\u5c71\u7530\u30bf\u30ed\u3046@contoso.com",
        "\uae40\u6c0f@contoso.com",
        "tel:+14255550100",
        "bot.litware.com",
    ],
)
def test_who_is_nobody_elses_double_has_nothing_to_see(text: str) -> None:
    assert look_of(parse_address(text)) is None


def test_what_nobody_sees_in_a_name_of_before_is_shown() -> None:
    look = look_of("sip:bo\u200bb@contoso.com")
    assert look is not None
    assert look.shown == "sip:bo<U+200B>b@contoso.com"


@given(st.text(min_size=1))
def test_any_address_has_a_look_or_none(user: str) -> None:
    try:
        address = parse_address(f"{user}@contoso.com")
    except AddressError:
        return
    looks = looks_of([address])
    assert all(isinstance(look, Look) and look.address == address for look in looks)
    assert not (address.isascii() and looks)
