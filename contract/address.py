"""Addresses of participants: every spelling of a person becomes one text (docs/decisions/0018)."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from sys import getsizeof
from typing import Final, Protocol
from urllib.parse import quote, unquote, unquote_to_bytes

from contract.characters import CharacterError, check_visible, fold
from contract.domain import DomainError, parse_domain
from contract.remembered import Remembered

MAX_LENGTH: Final = 454
"""Characters of a canonical address at most: the limit that OCS 2007 R2 sets on a SIP URI.

In UTF-8 these are 1,816 bytes at most, for which a row of an index has room (2,704 bytes in PostgreSQL).
"""
_MAX_TEXT: Final = 4096
"""And with all that belongs to a URI, or percent-escaped."""
_MAX_USUAL: Final = 200
_MAX_REMEMBERED: Final = 128
"""Characters of a text that is remembered."""
_REMEMBERED_BYTES: Final = 96 << 20
"""Some 300,000 of the usual."""

_USUAL: Final = re.compile(
    r"(?:sips?:)?(?P<address>[a-z0-9_][a-z0-9_.-]*@[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
    r"(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?){0,30}\.[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?)"
)
"""The usual spelling: nothing to undo but letter case and scheme, provided that there is no A-label."""
_ASCII: Final = "".join(map(chr, range(128)))
_UNRESERVED: Final = "!~*'()&=+$,"
_WHITE: Final = " \t\r\n"
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*", re.IGNORECASE)
_HOST: Final = re.compile(
    r"(?P<host>\[[^\]]*\]|[^\[\]:;?/]*)(?P<port>:[0-9]{1,5})?(?P<rest>[;?/].*)?", re.DOTALL
)
_ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_NODE_ESCAPE: Final = re.compile(r"\\(20|22|26|27|2f|3a|3c|3e|40|5c)", re.IGNORECASE)
"""XEP-0106, 4.1."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NEVER_BARE: Final = re.compile(r"[\s\"<>]")
_RESERVED: Final = re.compile(r"[^A-Za-z0-9_.!~*'()&=+$,\x80-\U0010ffff-]")
"""ASCII that is escaped in a user part: by RFC 3261, 25.1, and ``;``, ``?`` and ``/``."""
_NUMBER: Final = re.compile(r"\+[ ().\u2010-\u2015\u2212-]*[0-9][0-9 ().\u2010-\u2015\u2212-]*")
"""A global number with visual separators (RFC 3966, 3), and those that people type instead."""
_SEPARATORS: Final = re.compile(r"[^+0-9]")
_LOCAL_NUMBER: Final = re.compile(r"[a-f().-]*[0-9*#][0-9a-f*#().-]*")
_LOCAL_SEPARATORS: Final = re.compile(r"[().-]")
_CONTEXT: Final = "phone-context"
_JID_END: Final = re.compile(r"[/?#]")
_PHONE: Final = re.compile(r";\s*user\s*=\s*phone\s*(?=[;?]|$)", re.IGNORECASE)
_UPPER: Final = re.compile(r"[A-Z]+")


class AddressError(ValueError):
    """Raised for a text that is no address; the error says how to write one."""


def parse_address(text: str) -> str:
    """Return the person's address in canonical form: ``sip:user@host``, ``sip:host`` or ``tel:+number``.

    Two spellings of one person give one address, and an address gives itself. It depends on the text's scheme
    how it is read: see docs/decisions/0018. Port, parameters, headers and resource are not part of a person.

    Raises AddressError.
    """
    return _remembered.get(text) or _recall(text)


def address_of(name: str) -> str:
    """Return the canonical address of a name that an earlier version stored.

    A name that is no address any more is returned as it is. Nothing is cached: each name is asked once.
    """
    try:
        return _parse(name)
    except AddressError:
        return name


def route_of(text: str) -> str:
    """Return the SIP URI that reaches the person named by a text. The name is as it came, not folded.

    ``straße`` and ``strasse`` are one person here, and may be two at a registrar. The URI is ASCII, without
    parameters. Raises AddressError.
    """
    parse_address(text)
    scheme, rest = _split_scheme(text.strip(_WHITE))
    return _READERS[scheme](rest, _join_as_it_came)


def uri_of(address: str) -> str:
    """Return a canonical address as a URI, which is ASCII (RFC 3261, 25.1)."""
    return address if address.isascii() else quote(address, safe=_ASCII)


def domain_of(address: str) -> str:
    """Return the domain of a canonical address, "" of a telephone number: that is in none."""
    _, at, domain = address.rpartition("@")
    if at:
        return domain
    return "" if address.startswith("tel:") else address.removeprefix("sip:")


def parts_of_address(text: str) -> set[str]:
    """Return how a part of an address may stand in canonical ones: of a name, of a domain, or of both."""
    name, at, domain = text.partition("@")
    parts = {text.lower(), f"{_escape(fold(name))}{at}{domain.lower()}"}
    with suppress(DomainError):  # it may be a part of one
        parts.add(f"{_escape(fold(name))}@{parse_domain(domain)}" if at else parse_domain(text))
    return parts


def is_spelled_otherwise(text: str, address: str) -> bool:
    """Return True if a text differs from its canonical address in a part that tells people apart.

    Scheme, case of ASCII letters, port, parameters and the escapes of an ``xmpp:`` URI tell nobody apart.
    """
    if text == address or text == address[4:]:  # in a tuple: twice the time
        return False
    scheme, rest = _split_scheme(text.strip(_WHITE))
    if scheme == "xmpp":
        rest = unquote(rest)
    rest = _UPPER.sub(lambda match: match[0].lower(), rest)
    known = address.partition(":")[2]
    return not rest.startswith(known) or rest[len(known) : len(known) + 1] not in ("", ":", ";", "?", "/")


def _parse(text: str) -> str:
    if len(text) <= _MAX_USUAL and text.isascii():
        usual = _USUAL.fullmatch(text.lower())
        if usual is not None and "xn--" not in usual[1]:
            return f"sip:{usual[1]}"
    if len(text) > _MAX_TEXT:
        raise AddressError(f"{text[:80]!r}… has {len(text)} characters, at most {_MAX_TEXT} are allowed")
    text = text.strip(_WHITE)
    if _CONTROL.search(text):
        raise AddressError(f"{text[:80]!r} is not a SIP address: leave out its control characters")
    scheme, rest = _split_scheme(text)
    read = _READERS.get(scheme)
    if read is None:
        raise AddressError(f"unknown scheme {scheme[:32]!r}: write sip:user@domain")
    try:
        address = read(rest, _join)
    except UnicodeError:
        raise AddressError(f"{text[:80]!r} has escapes that are not UTF-8") from None
    except (CharacterError, DomainError, _FormError) as error:
        raise AddressError(f"{text[:80]!r} is not a SIP address: {error}") from None
    if len(address) > MAX_LENGTH:
        raise AddressError(f"address has {len(address)} characters, at most {MAX_LENGTH} are allowed")
    return address


_remembered: Final = Remembered[str, str](
    _REMEMBERED_BYTES, lambda text, address: getsizeof(text) + getsizeof(address)
)


def _recall(text: str) -> str:
    address = _remembered.recall(text)
    if address is None:
        address = _parse(text)
        if len(text) <= _MAX_REMEMBERED:
            _remembered.put(text, address)
    return address


def _split_scheme(text: str) -> tuple[str, str]:
    """Return a text's scheme in lower case, "" if it has none, and the rest."""
    scheme, colon, rest = text.partition(":")
    return (scheme.lower(), rest) if colon and _SCHEME.fullmatch(scheme) else ("", text)


class _Join(Protocol):
    """Makes an address of a user part, escapes undone, and a host as it came."""

    def __call__(self, user: str, host: str, *, is_number: bool = False) -> str: ...


def _read_sip(text: str, join: _Join) -> str:
    """Read a SIP URI (RFC 3261, 19.1) or one of RFC 3860, without its scheme."""
    user, host, rest = _split(text)
    if rest.startswith("/"):
        raise _FormError("nothing may follow the domain but port and parameters")
    if user is None:
        return f"sip:{parse_domain(host)}"
    if "\\" in user:
        raise _FormError("write a backslash as %5C")
    user, _, _ = user.partition(";")  # parameters of the user part say nothing of the person (RFC 3966)
    return join(_undo_escapes(user), host, is_number=_PHONE.search(rest) is not None)


def _read_jid_uri(text: str, join: _Join) -> str:
    """Read an ``xmpp:`` URI (RFC 5122), without its scheme. Its authority (the asking account) is ignored."""
    if text.startswith("//"):
        _, _, text = text[2:].partition("/")
    jid = _JID_END.split(text, maxsplit=1)[0]
    user, at, host = jid.partition("@")
    if not at:
        return f"sip:{parse_domain(_undo_escapes(jid))}"
    return join(_undo_node_escapes(_undo_escapes(user)), _undo_escapes(host))


def _read_number(text: str, join: _Join) -> str:
    """Read a ``tel:`` URI (RFC 3966), without its scheme. A local number of a domain is a person there."""
    number, *parameters = fold(text).split(";")
    if _NUMBER.fullmatch(number):
        return f"tel:{_SEPARATORS.sub('', number)}"
    digits = _LOCAL_SEPARATORS.sub("", number)
    contexts = [value for name, _, value in (each.partition("=") for each in parameters) if name == _CONTEXT]
    if not _LOCAL_NUMBER.fullmatch(digits) or len(contexts) != 1:
        raise _FormError("write a global number as tel:+14255550100, a local one with ;phone-context=")
    (context,) = contexts
    if _NUMBER.fullmatch(context):
        return f"tel:{digits};{_CONTEXT}={_SEPARATORS.sub('', context)}"
    return join(digits, context)


def _read_plain(text: str, join: _Join) -> str:
    """Read an address or JID without a scheme. Raises AddressError if a text can be read in two ways."""
    user, host, rest = _split(text)
    if user is None:
        if "." not in host.rstrip(".") and not host.startswith("["):
            raise _FormError("write sip:user@domain")
        return f"sip:{parse_domain(host)}"
    if "/" in user or ";" in user or _ESCAPE.search(user):
        raise _FormError("a SIP URI and a JID would mean different people: write sip: or xmpp: before it")
    return join(_undo_node_escapes(user), host, is_number=_PHONE.search(rest) is not None)


_READERS: Final[Mapping[str, Callable[[str, _Join], str]]] = {
    "": _read_plain,
    "sip": _read_sip,
    "sips": _read_sip,
    "im": _read_sip,
    "pres": _read_sip,
    "xmpp": _read_jid_uri,
    "tel": _read_number,
}


class _FormError(ValueError):
    """A text that is made in another way than an address; the error says how to write it."""


def _split(text: str) -> tuple[str | None, str, str]:
    """Return user part (None if there is none), host, and the rest behind host and port."""
    user, at, rest = text.partition("@")
    match = _HOST.fullmatch(rest if at else text)
    if match is None or not match["host"] or (at and not user):
        raise _FormError("write sip:user@domain")
    if ":" in user and at:
        raise _FormError("a password is no part of it: write sip:user@domain")
    beyond = match["rest"] or ""
    if "@" in beyond and not beyond.startswith("/"):  # a resource may have one
        raise _FormError("an @ after the domain may be read as that of another: escape it as %40")
    if at and _NEVER_BARE.search(user):
        raise _FormError("write sip:user@domain, with white space, quotes and angle brackets escaped")
    return (user if at else None), match["host"], beyond


def _undo_escapes(text: str) -> str:
    """Decode escapes; a percent sign that begins none is itself. Raises UnicodeError if not UTF-8."""
    return unquote_to_bytes(text).decode()


def _undo_node_escapes(node: str) -> str:
    """Escapes count in the prepared node (XEP-0106, 4.2): a wide backslash begins one as well."""
    prepared = fold(node)
    if len(_NODE_ESCAPE.findall(prepared)) > len(_NODE_ESCAPE.findall(node)):
        node = prepared
    return _NODE_ESCAPE.sub(lambda match: chr(int(match[1], 16)), node)


def _join(user: str, host: str, *, is_number: bool = False) -> str:
    """Return the canonical address of a user part without escapes and a host as it came."""
    user = fold(user)
    if len(user) > MAX_LENGTH:  # before each character is looked at
        raise _FormError(f"its name has {len(user)} characters, at most {MAX_LENGTH} are allowed")
    check_visible(user)
    if _NUMBER.fullmatch(user):
        user = _SEPARATORS.sub("", user)
    elif is_number and _LOCAL_NUMBER.fullmatch(user) and _LOCAL_SEPARATORS.search(user):
        raise _FormError("write a local number without separators, or a name without user=phone")
    if not user or user.strip(" ") != user:
        raise _FormError("a name neither is empty nor begins or ends with a space")
    return f"sip:{_escape(user)}@{parse_domain(host)}"


def _join_as_it_came(user: str, host: str, *, is_number: bool = False) -> str:
    if _NUMBER.fullmatch(folded := fold(user)):
        user = _SEPARATORS.sub("", folded)
    return f"sip:{quote(user, safe=_UNRESERVED)}@{parse_domain(host)}"


def _escape(user: str) -> str:
    return _RESERVED.sub(lambda match: f"%{ord(match[0]):02X}", user)
