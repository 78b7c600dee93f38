"""Domains: every spelling of one becomes the form that DNS knows, so an IDN is one domain."""

import re
import unicodedata
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from sys import getsizeof
from typing import Final

import idna

from contract.characters import CharacterError, check_visible
from contract.remembered import Remembered

_MAX_LENGTH: Final = 253
"""Characters of a domain at most (RFC 1035, 2.3.4: 255 bytes on the wire)."""
_REMEMBERED_BYTES: Final = 8 << 20
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_IPV4: Final = re.compile(r"[0-9]+(?:\.[0-9]+){3}")
_JOINERS: Final = "\u200c\u200d"
_OTHER_ASCII: Final = re.compile(r"[^a-z0-9_\x80-\U0010ffff-]")
_MAX_LABEL: Final = 63


class DomainError(ValueError):
    """A text that is no domain; the error says why."""


def parse_domain(text: str) -> str:
    """Return a domain in canonical form: lower case, IDNs as A-labels (``xn--…``), no dot at the end.

    An IDN is mapped as UTS 46 says (nontransitional): ``Bücher.example`` is ``xn--bcher-kva.example``.
    An IPv6 address stands in brackets and is shortened (RFC 5952). Underscores are allowed.

    Raises DomainError.
    """
    return _remembered.get(text) or _recall(text)


_remembered: Final = Remembered[str, str](
    _REMEMBERED_BYTES, lambda text, domain: getsizeof(text) + getsizeof(domain)
)


def _recall(text: str) -> str:
    domain = _remembered.recall(text)
    if domain is None:
        domain = _parse(text)
        _remembered.put(text, domain)
    return domain


def _parse(text: str) -> str:
    if len(text) > 4 * _MAX_LENGTH:
        raise DomainError("it is too long")
    try:
        if text.startswith("["):
            return _parse_ipv6(text)
        mapped = _map(text).removesuffix(".")
        labels = [_parse_label(label) for label in mapped.split(".")]
    except (CharacterError, ValueError) as error:  # idna's and ipaddress' are ValueErrors
        raise DomainError(str(error)) from None
    domain = ".".join(labels)
    if len(domain) > _MAX_LENGTH:
        raise DomainError(f"it has {len(domain)} characters, at most {_MAX_LENGTH} are allowed")
    if _IPV4.fullmatch(domain):
        try:
            IPv4Address(domain)  # refuses 010.0.0.1, which some read as 8.0.0.1
        except ValueError as error:
            raise DomainError(str(error)) from None
    return domain


def respell_domain(name: str) -> str:
    """Return the canonical form of a domain that an earlier version stored; other texts as they are."""
    try:
        return parse_domain(name)
    except DomainError:
        return name


def show_domain(domain: str) -> str:
    """Return a canonical domain as people read it: IDNs as U-labels."""
    return ".".join(
        label[4:].encode().decode("punycode") if label.startswith("xn--") else label
        for label in domain.split(".")
    )


def _parse_ipv6(text: str) -> str:
    if not text.endswith("]") or "%" in text:
        raise ValueError("an IPv6 address is written [2001:db8::1], without a zone")
    address = IPv6Address(text[1:-1])
    return str(address.ipv4_mapped or f"[{address}]")


def _map(text: str) -> str:
    if text.isascii():
        return text.lower()
    check_visible(text, _JOINERS)  # uts46_remap() would leave them out
    return idna.uts46_remap(text, std3_rules=False)


def _parse_label(label: str) -> str:
    """Return a mapped label; of an IDN its A-label (RFC 5890, 2.3.2.1)."""
    if not label.startswith("xn--"):
        return label if label.isascii() and _LABEL.fullmatch(label) else _encode(label)
    if len(label) > _MAX_LABEL:
        raise ValueError(f"{label[:80]!r} is too long for a part of a domain")
    try:
        decoded = label[4:].encode().decode("punycode")
    except (UnicodeError, OverflowError):
        raise ValueError(f"{label[:80]!r} is no A-label") from None
    if decoded.isascii() or _map(decoded) != decoded or _encode(decoded) != label:
        raise ValueError(f"{label[:80]!r} is no A-label")
    return label


def _encode(label: str) -> str:
    """Return the A-label of a mapped label.

    As UTS 46 has it, not the narrower IDNA 2008: domains with symbols are in use. Joiners must change how
    their neighbours look (RFC 5892, appendix A).
    """
    if not label:
        raise ValueError("a part of it is empty")
    if (
        label.isascii()
        or len(label) > _MAX_LABEL
        or _OTHER_ASCII.search(label)
        or unicodedata.category(label[0]).startswith("M")
        or not all(idna.valid_contextj(label, place) for place in _joiners_in(label))
    ):
        raise ValueError(f"{label[:80]!r} is no part of a domain")
    ascii_label = f"xn--{label.encode('punycode').decode()}"
    if len(ascii_label) > _MAX_LABEL:
        raise ValueError(f"{label[:80]!r} is too long for a part of a domain")
    return ascii_label


def _joiners_in(label: str) -> Iterator[int]:
    return (place for place, char in enumerate(label) if char in _JOINERS)
