"""Documents between front end and admin API have one shape, which older versions of either side read."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from pydantic import BaseModel

from admin_api.archive.disclaimers import answers as disclaimers
from admin_api.fleet import answers as fleet
from contract.check_in import FIRST_FIELDS, CheckIn, CheckInAnswer
from contract.disclaimers import Claim, Confirmation, Standing, Worded
from contract.witness import AgentNumbers, Noted, Numbers

_ID = UUID("01a2070e-7bf0-73eb-933d-9d1df16e2c30")
_AT = datetime(2026, 11, 23, 6, 18, 39, 472000, UTC)
_NOTICE = Worded("sip:bob@fabrikam.com", "en", "This conversation is archived.")

REQUESTS: list[tuple[msgspec.Struct, type[BaseModel], bytes]] = [
    (
        CheckIn(
            pool="pool1",
            agent=_ID,
            version=4,
            state="normal",
            since=_AT,
            process=_ID,
            stamp=_ID,
            digest="1:ab",
        ),
        fleet.CheckIn,
        b'{"pool":"pool1","agent":"01a2070e-7bf0-73eb-933d-9d1df16e2c30","version":4,"state":"normal",'
        b'"since":"2026-11-23T06:18:39.472000Z","process":"01a2070e-7bf0-73eb-933d-9d1df16e2c30",'
        b'"stamp":"01a2070e-7bf0-73eb-933d-9d1df16e2c30","digest":"1:ab"}',
    ),
    (
        Claim(
            front_end="fe1", connector="edge", conversation="c1", im=_ID, at=_AT, version=4, notices=[_NOTICE]
        ),
        disclaimers.Claim,
        b'{"front_end":"fe1","connector":"edge","conversation":"c1",'
        b'"im":"01a2070e-7bf0-73eb-933d-9d1df16e2c30","at":"2026-11-23T06:18:39.472000Z","version":4,'
        b'"notices":[{"partner":"sip:bob@fabrikam.com","language":"en",'
        b'"wording":"This conversation is archived."}]}',
    ),
    (
        Confirmation(connector="edge", at=_AT),
        disclaimers.Confirmation,
        b'{"connector":"edge","at":"2026-11-23T06:18:39.472000Z"}',
    ),
    (
        Numbers(pool="pool1", numbers=[AgentNumbers(_ID, 17, True)]),
        fleet.Numbers,
        b'{"pool":"pool1","numbers":[{"agent":"01a2070e-7bf0-73eb-933d-9d1df16e2c30","confirmed":17,'
        b'"ended":true}]}',
    ),
]
"""A document of each kind, the admin API's reader, and the bytes that released front ends write."""

ANSWERS: list[tuple[type[msgspec.Struct], BaseModel, bytes]] = [
    (
        CheckInAnswer,
        fleet.CurrentVersion(version=4, stamp=_ID, anew=True, namesakes=2),
        b'{"version":4}',
    ),
    (
        Standing,
        disclaimers.Standing(partners=["sip:bob@fabrikam.com"], told=["sip:eve@fabrikam.com"]),
        b'{"partners":[]}',
    ),
    (Noted, fleet.Noted(incarnation=_ID), b'{"incarnation":"01a2070e-7bf0-73eb-933d-9d1df16e2c30"}'),
]
"""The front end's reader of an answer, the admin API's answer, and the least that a released one answered."""

_PARTS: list[tuple[type[msgspec.Struct], type[BaseModel]]] = [
    *((type(document), reader) for document, reader, _ in REQUESTS),
    (Worded, disclaimers.Notice),
    (AgentNumbers, fleet.AgentNumbers),
]


def _name(value: object) -> str | None:
    return type(value).__name__ if isinstance(value, msgspec.Struct | BaseModel) else None


@pytest.mark.parametrize(("struct", "reader"), _PARTS)
def test_the_admin_api_knows_the_contracts_fields_and_needs_the_same(
    struct: type[msgspec.Struct], reader: type[BaseModel]
) -> None:
    ours = {field.name: field.required for field in msgspec.structs.fields(struct)}
    assert {name: field.is_required() for name, field in reader.model_fields.items()} == ours


@pytest.mark.parametrize(("document", "reader", "released"), REQUESTS, ids=_name)
def test_a_document_is_written_as_released_and_read_as_it_was_written(
    document: msgspec.Struct, reader: type[BaseModel], released: bytes
) -> None:
    assert msgspec.json.encode(document) == released
    assert msgspec.json.decode(released, type=type(document)) == document
    assert msgspec.convert(reader.model_validate_json(released).model_dump(), type(document)) == document


def test_a_check_in_of_the_first_version_is_read() -> None:
    newest, reader, released = REQUESTS[0]
    first = {name: value for name, value in json.loads(released).items() if name in FIRST_FIELDS}
    read = msgspec.convert(reader.model_validate(first).model_dump(), CheckIn)
    assert read == msgspec.structs.replace(newest, process=None, stamp=None, digest=None)


@pytest.mark.parametrize(("reader", "answer", "least"), ANSWERS, ids=_name)
def test_an_answer_is_read_with_fields_unknown_yet_and_from_an_older_admin_api(
    reader: type[Any], answer: BaseModel, least: bytes
) -> None:
    document = json.loads(answer.model_dump_json())
    read = msgspec.json.decode(json.dumps(document | {"later": {"a": 1}}).encode(), type=reader)
    assert msgspec.to_builtins(read) == document
    assert msgspec.json.decode(least, type=reader) is not None
