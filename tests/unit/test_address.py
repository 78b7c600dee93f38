"""Addresses: every spelling of a person becomes one, and what is no address is told why."""

import sys
import unicodedata
from urllib.parse import quote, unquote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from idna.uts46data import uts46_starts, uts46_statuses

from contract.address import (
    MAX_LENGTH,
    AddressError,
    domain_of,
    is_spelled_otherwise,
    parse_address,
    route_of,
    uri_of,
)
from contract.domain import DomainError, parse_domain, show_domain

ascii_users = st.text(
    st.characters(codec="ascii", exclude_characters='+%\\;:/@<>"\x7f', min_codepoint=33),
    min_size=1,
    max_size=40,
)
labels = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,10}[a-z0-9_])?", fullmatch=True)
idn_labels = st.sampled_from(
    ["bücher", "straße", "пример", "例え", "مثال", "i❤", "नमस्ते", "\u0645\u06cc\u200c\u0631"]
)
domains = st.lists(labels | idn_labels, min_size=1, max_size=4).map(
    lambda parts: ".".join([*(part for part in parts if not part.startswith("xn--")), "example"])
)
_FORMS = ("NFC", "NFD", "NFKC", "NFKD")


@st.composite
def names(draw: st.DrawFn) -> str:
    """Return the name of a person as it is after all escapes are undone."""
    text = draw(st.text(min_size=1, max_size=30) | st.text("aé '/;%\\@&:.5c27", min_size=1))
    try:
        address = parse_address(f"sip:{quote(text, safe='')}@contoso.com")
    except AddressError:
        assume(False)
    return unquote(address.removeprefix("sip:").rpartition("@")[0])


def _address(name: str, domain: str) -> str:
    return parse_address(f"sip:{quote(name, safe='')}@{domain}")


@st.composite
def written(draw: st.DrawFn, name: str) -> str:
    """Return a name as another keyboard or system writes it."""
    assume("\u0131" not in name)  # its upper case is that of i, a letter of other people
    cased = draw(st.sampled_from([name, name.upper(), name.title()]))
    return unicodedata.normalize(draw(st.sampled_from(_FORMS)), cased)


@st.composite
def hosts(draw: st.DrawFn, domain: str) -> str:
    """Return a domain as another keyboard or system writes it."""
    spelled = [domain, f"{domain}.", parse_domain(domain), parse_domain(domain).upper()]
    if domain.isascii() or "ß" not in domain:  # "SS" is another domain
        spelled.append(domain.upper())
    wide = {
        ord("."): draw(st.sampled_from(".\u3002\uff0e\uff61")),
        ord("e"): draw(st.sampled_from("e\uff25")),
    }
    return draw(st.sampled_from(spelled)).translate(wide)


@given(st.data(), names(), domains)
def test_every_spelling_of_a_sip_uri_is_one_person(data: st.DataObject, name: str, domain: str) -> None:
    user = data.draw(written(name))
    safe = data.draw(st.sampled_from(["", "!~*'()&=+$,"]))
    escaped = quote(user, safe=safe).lower() if user == name else quote(user, safe=safe)
    scheme = data.draw(st.sampled_from(["sip:", "SIPS:", "im:", "pres:"]))
    parameters = data.draw(st.sampled_from(["", ";x=y", ";day=tuesday;a"]))
    tail = data.draw(st.sampled_from(["", ":5061", ";transport=tls", ";x?y=z", "?y=z"]))
    text = f"{scheme}{escaped}{parameters}@{data.draw(hosts(domain))}{tail}"
    address = parse_address(text)
    assert address == _address(name, domain)
    assert parse_address(f" {address}\r\n") == address
    assert parse_address(uri_of(address)) == parse_address(route_of(text)) == address
    assert unquote(route_of(text).removeprefix("sip:").rpartition("@")[0]) in (user, name)
    assert domain_of(address) == parse_domain(domain)


@given(st.data(), names(), domains)
def test_every_spelling_of_a_jid_is_one_person(data: st.DataObject, name: str, domain: str) -> None:
    user = data.draw(written(name))
    node = "".join(f"\\{ord(char):02x}" if char in "\\ \"&'/:<>@" else char for char in user)  # XEP-0106
    resource = data.draw(st.sampled_from(["", "/phone", "/a@b/c;d:1"]))
    host = data.draw(hosts(domain))
    assert parse_address(f"xmpp:{quote(node)}@{quote(host)}{quote(resource)}") == _address(name, domain)
    if not any(char in node for char in "%;"):  # these are ambiguous without a scheme
        assert parse_address(f"{node}@{host}{resource}") == _address(name, domain)


@given(ascii_users, domains)
def test_a_plain_address_is_that_of_its_sip_uri(user: str, domain: str) -> None:
    plain = parse_address(f"{user}@{domain}")
    assert parse_address(f"sip:{user}@{domain}") == plain
    assert parse_address(f"SIPS:{user.upper()}@{parse_domain(domain).upper()}") == plain
    assert parse_address(f" {user}@{domain}:5061;transport=tls?subject=x ") == plain


@given(st.text() | st.text("sipxmteln:+-.;=@%\\/[]?1a2b\u00e9 ", max_size=30))
def test_any_text_is_an_address_or_told_why_not(text: str) -> None:
    try:
        address = parse_address(text)
    except AddressError as error:
        assert str(error)
    else:
        assert parse_address(address) == address
        assert address.startswith(("sip:", "tel:"))
        assert len(address) <= MAX_LENGTH
        assert address.count("@") <= 1
        assert (domain_of(address) == "") == address.startswith("tel:")
        assert not is_spelled_otherwise(address, address)


@given(domains)
def test_a_domain_is_shown_as_people_write_it(domain: str) -> None:
    canonical = parse_domain(domain)
    assert show_domain(canonical) == domain
    assert canonical.isascii()
    assert parse_domain(canonical) == canonical


_LEFT_OUT = {
    code
    for start, end, status in zip(
        uts46_starts, [*uts46_starts[1:], sys.maxunicode + 1], uts46_statuses, strict=True
    )
    if status == ord("I")
    for code in range(start, end)
}
"""What UTS 46 leaves out of domains."""
_UNSEEN = (st.characters(categories=("C", "Z")) | st.sampled_from(sorted(map(chr, _LEFT_OUT)))).filter(
    lambda char: unicodedata.normalize("NFKC", char) != " "
)


@given(_UNSEEN | st.sampled_from("\u200b\u2060\ufeff\u202e\u2067\ufe0f\u3164\u2800\ufffd"))
def test_nothing_unseen_is_in_an_address(char: str) -> None:
    for text in (
        f"bo{char}b@contoso.com",
        f"sip:bo{quote(char, errors='surrogatepass')}b@contoso.com",
        f"xmpp:bo{quote(char, errors='surrogatepass')}b@contoso.com",
        f"bob@con{char}toso.com",
        f"bob{char}@contoso.com",
    ):
        with pytest.raises(AddressError):
            parse_address(text)


def test_a_space_is_a_space_however_wide() -> None:
    assert parse_address("b\\20b@contoso.com") == parse_address("sip:b%E3%80%80b@contoso.com")
    for text in (
        "bob \u00a0@contoso.com",
        "sip:bob%C2%A0@contoso.com",
        "\\20bob@contoso.com",
        "b\u00a0b@contoso.com",
    ):
        with pytest.raises(AddressError):
            parse_address(text)


SAME = [
    ("jos\u0301e@contoso.com", "jose\u0301@contoso.com", False),
    ("sip:%62ob@contoso.com", "bob@contoso.com", True),
    ("sip:b%c3%b6b@contoso.com", "b\u00f6b@contoso.com", True),
    ("\uff42ob@contoso.com", "bob@contoso.com", True),
    ("bo\u017f@contoso.com", "bos@contoso.com", True),
    ("stra\u00dfe@contoso.com", "STRASSE@contoso.com", True),
    (
        "\u03c3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2@contoso.com",
        "\u03a3\u038a\u03a3\u03a5\u03a6\u039f\u03a3@contoso.com",
        True,
    ),
    ("sip:bob;x=y@contoso.com", "bob@contoso.com", True),
    ("sip:bob%3bx=y@contoso.com", "bob@contoso.com", False),
    ("xmpp:bob;x=y@contoso.com", "sip:bob%3Bx=y@contoso.com", True),
    ("bob@contoso.com.", "bob@contoso.com", True),
    ("bob@contoso\u3002com", "bob@contoso.com", True),
    ("bob@B\u00dcCHER.example", "bob@xn--bcher-kva.example", True),
    ("bob@stra\u00dfe.example", "bob@strasse.example", False),
    ("bob@i\u2764.example", "bob@xn--i-7iq.example", True),
    ("bob@[2001:DB8:0::1]:5060", "bob@[2001:db8::1]", True),
    ("bob@[::ffff:192.0.2.1]", "bob@192.0.2.1", True),
    ("sip:+1-425-555-0100@contoso.com;user=phone", "+14255550100@contoso.com", True),
    ("+1(425)555.0100@contoso.com", "sip:+14255550100;ext=7@contoso.com", True),
    ("\uff0b1425\u20115550100@contoso.com", "+14255550100@contoso.com", True),
    ("100-1@contoso.com", "1001@contoso.com", False),
    ("tel:+1-425-555-0100", "TEL:+14255550100;ext=7", True),
    ("tel:+14255550100", "+14255550100@contoso.com", False),
    ("tel:7042;phone-context=contoso.com", "7042@contoso.com", True),
    ("tel:70-42;phone-context=+1-425", "tel:7042;isub=1;phone-context=+1425", True),
    ("d\\27artagnan@contoso.com", "sip:d'artagnan@contoso.com", True),
    ("d\\27artagnan@contoso.com", "xmpp:d%5C27artagnan@contoso.com", True),
    ("d\\27artagnan@contoso.com", "sip:d%5C27artagnan@contoso.com", False),
    ("d\\5c27artagnan@contoso.com", "sip:d%5C27artagnan@contoso.com", True),
    ("d\uff3c\uff12\uff17artagnan@contoso.com", "sip:d'artagnan@contoso.com", True),
    ("xmpp:d%EF%BC%BC27artagnan@contoso.com", "sip:d'artagnan@contoso.com", True),
    ("bob@contoso.com/at@home", "bob@contoso.com", True),
    ("a\\2fb@contoso.com", "sip:a/b@contoso.com", True),
    ("100%@contoso.com", "sip:100%25@contoso.com", True),
    ("sip:100%@contoso.com", "sip:100%25@contoso.com", True),
    ("sip:%4%31@contoso.com", "sip:%2541@contoso.com", True),
    ("xmpp:bob%2562@contoso.com", "sip:bob%2562@contoso.com", True),
    ("bot.litware.com", "xmpp:bot.litware.com/nick", True),
    ("bot.litware.com", "sip:BOT.litware.com.:5060;x", True),
    ("bot.litware.com", "bot@litware.com", False),
    ("xmpp://guest@example.com/support@example.com?message", "support@example.com", True),
    ("\u0430nna@contoso.com", "anna@contoso.com", False),
]


@pytest.mark.parametrize(("one", "other", "same"), SAME)
def test_one_person_is_one_address(one: str, other: str, same: bool) -> None:
    assert (parse_address(one) == parse_address(other)) == same


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("mailto:yannis@contoso.com", "unknown scheme 'mailto'"),
        ("http://contoso.com/", "unknown scheme 'http'"),
        ("tel:4989123", "write a global number"),
        ("tel:+49x89", "write a global number"),
        ("tel:12;phone-context=a.example;phone-context=b.example", "write a global number"),
        ("yannis", "not a SIP address"),
        ("@contoso.com", "not a SIP address"),
        ("sip:yannis@", "not a SIP address"),
        ("sip:yan nis@contoso.com", "not a SIP address"),
        ("sip:yannis@con\0toso.com", "not a SIP address"),
        ("", "not a SIP address"),
        ("sip:" + "y" * 500 + "@contoso.com", "at most 454"),
        ("sip:yannis@contoso.com;" + "y" * 5000, "at most 4096"),
        ("bo%62@contoso.com", "write sip: or xmpp: before it"),
        ("bob;x=y@contoso.com", "write sip: or xmpp: before it"),
        ("bob/x@contoso.com", "write sip: or xmpp: before it"),
        ("sip:%c0%afbob@contoso.com", "not UTF-8"),
        ("sip:%ed%a0%80bob@contoso.com", "not UTF-8"),
        ("sip:bob%00@contoso.com", r"U\+0000"),
        ("bo\u200bb@contoso.com", r"U\+200B \(ZERO WIDTH SPACE\), which nobody sees: leave it out"),
        ("bo\u202eb@contoso.com", r"U\+202E \(RIGHT-TO-LEFT OVERRIDE\)"),
        ("sip:bob:secret@contoso.com", "a password is no part of it"),
        ("sip:bob@contoso.com@litware.com", "not a SIP address"),
        ("sip:bob@contoso.com;x@litware.com", "an @ after the domain"),
        ("bob@contoso.com;x=/y@litware.com", "an @ after the domain"),
        ("sip:bob@contoso.com?to=eve@litware.com", "an @ after the domain"),
        ("sip:555-0100@contoso.com;user=phone", "write a local number without separators"),
        ("bob@contoso..com", "a part of it is empty"),
        ("bob@contoso.com..", "a part of it is empty"),
        ("bob@cont%6Fso.com", "no part of a domain"),
        ("bob@010.0.0.1", "Leading zeros"),
        ("bob@xn--abc-.example", "no A-label"),
        ("bob@xn--zzzzzzzzzzzz.example", "no A-label"),
        ("bob@" + "y" * 64 + ".example", "no part of a domain"),
        ("bob@a\u200cb.example", "no part of a domain"),
        ("bob@[fe80::1%25eth0]", "without a zone"),
    ],
)
def test_what_is_no_address_is_told_why(text: str, why: str) -> None:
    with pytest.raises(AddressError, match=why):
        parse_address(text)


def test_a_false_a_label_is_no_domain() -> None:
    """An A-label of what no IDN may be, such as upper case, would be another spelling of one that is."""
    for label in ("B\u00dcCHER", "bu\u0308cher", "con\u200btoso", "b\u3002d"):
        with pytest.raises(DomainError):
            parse_domain(f"xn--{label.encode('punycode').decode()}.example")


@pytest.mark.parametrize(
    ("text", "otherwise"),
    [
        ("BOB@contoso.com:5060;x=y", False),
        ("sips:Bob@Contoso.com", False),
        ("xmpp:jos%C3%A9@contoso.com/phone", False),
        ("jos\u00e9@contoso.com", False),
        ("tel:+14255550100;ext=7", False),
        ("bot.litware.com/x", False),
        ("JOS\u00c9@contoso.com", True),
        ("jose\u0301@contoso.com", True),
        ("sip:%62ob@contoso.com", True),
        ("sip:bob;x=y@contoso.com", True),
        ("bob@contoso.com.", True),
        ("xmpp:d%5C27artagnan@contoso.com", True),
        ("tel:+1-425-555-0100", True),
    ],
)
def test_a_spelling_is_another_if_it_says_more_than_scheme_and_port(text: str, otherwise: bool) -> None:
    assert is_spelled_otherwise(text, parse_address(text)) == otherwise
