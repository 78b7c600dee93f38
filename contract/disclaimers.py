"""Disclaimers: a front end claims notices for partners, and reports their delivery, to the admin API."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec


class Worded(msgspec.Struct, frozen=True):
    """A notice: a partner and its text."""

    partner: str
    """Canonical address."""
    language: str
    wording: str


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Notices that a connector is to deliver with an IM: ``POST /v1/disclaimers``.

    Its parameters are ``digest``, which identifies the content, and ``handed_over``: the
    connector has the notices already. The first released admin API passes over both.
    """

    front_end: str
    connector: str = ""
    """Name of the connector; empty: the front end is older than connectors' names here."""
    conversation: str
    im: UUID
    at: datetime
    version: int
    """Of the policy that words the notices."""
    notices: list[Worded]


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a claim. Of partners in neither list nothing is known yet."""

    partners: list[str]
    """Partners to be told with this IM."""
    told: list[str] = []
    """Partners that were told already."""


class Confirmation(msgspec.Struct, frozen=True, kw_only=True):
    """A connector delivered the notices of an IM: ``POST /v1/disclaimers/{im}/told``.

    If it could not deliver them: ``DELETE /v1/disclaimers/{im}?connector=…``, without a document.
    """

    connector: str
    at: datetime


def schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON schemas by name; golden copies are in contract/schemas/."""
    return {
        "lcs.claim.v1": msgspec.json.schema(Claim),
        "lcs.claim-answer.v1": msgspec.json.schema(Standing),
        "lcs.told.v1": msgspec.json.schema(Confirmation),
    }
