"""Addresses: every spelling of a person becomes one, and what is no address is told why."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.address import MAX_LENGTH, AddressError, domain_of, parse_address

users = st.text(
    st.characters(codec="ascii", exclude_characters=' @:<>"\\;?\x7f', min_codepoint=33),
    min_size=1,
    max_size=40,
)
labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
domains = st.lists(labels, min_size=1, max_size=4).map(".".join)


@given(users, domains)
def test_every_spelling_of_an_address_is_the_same_person(user: str, domain: str) -> None:
    plain = parse_address(f"{user}@{domain}")
    assert parse_address(f"sip:{user}@{domain}") == plain
    assert parse_address(f"SIPS:{user.upper()}@{domain.upper()}") == plain
    assert parse_address(f" sip:{user}@{domain}:5061;transport=tls?subject=x ") == plain
    assert parse_address(plain) == plain
    assert domain_of(plain) == domain


@given(st.text())
def test_any_text_is_an_address_or_told_why_not(text: str) -> None:
    try:
        address = parse_address(text)
    except AddressError as error:
        assert str(error)
    else:
        assert parse_address(address) == address
        assert address.startswith("sip:")
        assert len(address) <= MAX_LENGTH
        assert domain_of(address)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("mailto:yannis@contoso.com", "unknown scheme 'mailto'"),
        ("http://contoso.com/", "unknown scheme 'http'"),
        ("tel:+4989123", "unknown scheme 'tel'"),
        ("yannis", "not a SIP address"),
        ("@contoso.com", "not a SIP address"),
        ("sip:yannis@", "not a SIP address"),
        ("sip:yan nis@contoso.com", "not a SIP address"),
        ("sip:yannis@con\0toso.com", "not a SIP address"),
        ("", "not a SIP address"),
        ("sip:" + "y" * 500 + "@contoso.com", "at most 454"),
        ("sip:yannis@contoso.com;" + "y" * 2000, "at most 1024"),
    ],
)
def test_what_is_no_address_is_told_why(text: str, why: str) -> None:
    with pytest.raises(AddressError, match=why):
        parse_address(text)
