"""Types of parameters and of fields in bodies, with messages that say how to write a value."""

import re
from datetime import datetime
from typing import Annotated, Final, TypeVar
from uuid import UUID

from fastapi import Path, Query
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidatorFunctionWrapHandler,
)

from contract.address import AddressError, domain_of, parse_address
from contract.domain import DomainError, parse_domain
from contract.message import time_of
from runtime.token import CONNECTOR_NAME

_STORED: Final = re.compile(r"sip:[^\s@:<>\"\x00-\x1f\x7f\\]+@[a-z0-9_.:\[\]-]+")

MANY: Final = 10_000
"""Most domains or languages in a document."""
_MAX_STORED: Final = 2600
"""Bytes of the longest name that could be stored: an index holds no more."""


class Document(BaseModel):
    """A JSON object of a request; unknown names are refused."""

    model_config = ConfigDict(extra="forbid")


def _domain(text: str) -> str:
    try:
        return parse_domain(text.strip())
    except DomainError as error:
        raise ValueError(f"{text[:80]!r} is not a SIP domain ({error}): write it as contoso.com") from None


def _known(text: str) -> str:
    try:
        return parse_address(text)
    except AddressError:
        if _STORED.fullmatch(text) is None or len(text.encode()) > _MAX_STORED:
            raise
        return text


def parse_user(text: str) -> str:
    """Return the canonical address of a user, who may have flags. Raises ValueError."""
    address = parse_address(text)
    if not domain_of(address):
        raise ValueError(f"{address} is in no domain: write it as sip:{address[4:]}@contoso.com")
    return address


def refuse_merged(given: object, check: ValidatorFunctionWrapHandler) -> object:
    """Validate an object. Raises ValueError if two of its names are spellings of one, or for too many."""
    if isinstance(given, dict) and len(given) > MANY:
        raise ValueError(f"it has at most {MANY} names")
    checked = check(given)
    if isinstance(given, dict) and len(checked) < len(given):
        raise ValueError("two of its names are spellings of one: leave one out")
    return checked


def _number(given: object) -> object:
    if isinstance(given, str | bool):
        raise ValueError("write a number, without quotation marks")
    return given


def _iso8601(given: object) -> object:
    if isinstance(given, datetime) or (isinstance(given, str) and "T" in given.upper()):
        return given
    raise ValueError("write a time as 2026-01-31T08:00:00Z")  # 2026 would else be seconds since 1970


def _uuid7(im_id: UUID) -> UUID:
    time_of(im_id)
    return im_id


Value = TypeVar("Value")
IfAny = Annotated[Value | None, Field(exclude_if=lambda value: not value)]
"""A field that is left out of an answer if it is empty."""
ImId = Annotated[UUID, AfterValidator(_uuid7)]
"""An IM's id: a UUIDv7."""
Address = Annotated[str, StringConstraints(max_length=2000), AfterValidator(parse_address)]
"""A SIP URI, with or without ``sip:``, an ``xmpp:`` or a ``tel:`` URI, or a JID; becomes canonical."""
KnownAddress = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_known)]
"""An ``Address``; or, letter by letter, a name that an earlier version stored and that is no address now."""
Domain = Annotated[str, StringConstraints(max_length=1000), AfterValidator(_domain)]
"""A domain; becomes canonical, an IDN as ``xn--…``."""
Name = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,200}$")]
"""The name of a pool or a front end."""
ConnectorName = Annotated[str, StringConstraints(pattern=CONNECTOR_NAME)]
Language = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z]{2,3}(-[a-zA-Z0-9]{1,8})*$", to_lower=True)]
"""A language's tag (BCP 47, RFC 5646)."""
Wording = Annotated[
    str, StringConstraints(pattern=r"^[^\x00-\x09\x0b-\x1f\x7f]*$", min_length=1, max_length=2000)
]
"""A text for people: without control characters other than line feed."""
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", min_length=1, max_length=1000)]
"""Any text to search for, but for the one character that PostgreSQL's text cannot hold."""
Time = Annotated[AwareDatetime, BeforeValidator(_iso8601)]
Integer = Annotated[int, BeforeValidator(_number)]
"""An integer in a JSON document."""
Version = Annotated[Integer, Field(ge=0, lt=1 << 53)]
"""A version of policy in a JSON document, where larger numbers are not all exact."""

AddressInPath = Annotated[KnownAddress, Path(examples=["sip:yannis@contoso.com"])]
UserInPath = Annotated[
    str,
    StringConstraints(max_length=2000),
    AfterValidator(parse_user),
    Path(examples=["sip:yannis@contoso.com"]),
]
"""The address of a user, who may have flags."""
DomainInPath = Annotated[Domain, Path(examples=["contoso.com"])]
NameInPath = Annotated[Name, Path(examples=["pool1"])]
Limit = Annotated[int, Query(ge=1, le=1000, description="How many at most")]
MAX_BIGINT = (1 << 63) - 1
After = Annotated[int, Query(ge=1, le=MAX_BIGINT, description="The `next` of the page before")]
"""The place where a list goes on that is ordered by a number, newest first."""
