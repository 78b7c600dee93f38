"""OpenAPI: ``POST /v1/messages``, of which other operations have a part; and all listeners' operations."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from contract.message import AsSent, make_id
from frontend.listeners.listener import Listener, Operation, Operations

_EXAMPLE: Final = {
    "sender": "yannis@contoso.com",
    "recipients": ["administrator@contoso.com"],
    "body": "Test Archiving Messages",
}
EXAMPLE_ID: Final = "019aae41-7bf0-73eb-933d-9d1df16e2c30"
_ACCEPTED: Final = {
    "status": 201,
    "id": EXAMPLE_ID,
    "archived": True,
    "rule": "internal-everyone",
    "scope": "internal",
    "policy_version": 4,
}
_PERSON: Final = (
    "a SIP URI (sip:), a JID's (xmpp:) or a telephone number's (tel:); or an address or JID without a scheme"
)
_IM: Final[dict[str, Any]] = {
    "title": "IM",
    "type": "object",
    "required": ["sender", "recipients", "body"],
    "additionalProperties": False,
    "properties": {
        "sender": {"type": "string", "description": _PERSON},
        "recipients": {
            "type": "array",
            "items": {"type": "string", "description": _PERSON},
            "minItems": 1,
        },
        "body": {"type": "string", "description": "the text, or the content in base64; never altered"},
        "encoding": {"enum": ["text", "base64"], "default": "text"},
        "content_type": {"type": "string", "default": "text/plain", "description": "MIME type of the body"},
        **msgspec.json.schema(AsSent)["$defs"]["AsSent"]["properties"],
        "conversation": {
            "type": "string",
            "maxLength": 255,
            "description": "your key of the conversation; by default one made of the participants",
        },
        "id": {
            "type": "string",
            "format": "uuid",
            "description": "a UUIDv7 of yours makes retries safe: the same IM is archived once",
        },
        "sent_at": {
            "type": "string",
            "format": "date-time",
            "description": "when it was sent, by default now; with an id it must be the time inside the id",
        },
    },
    "example": _EXAMPLE,
}
ANSWER: Final[dict[str, Any]] = {
    "title": "Answer",
    "type": "object",
    "required": ["status", "id", "archived", "rule", "scope", "policy_version"],
    "properties": {
        "status": {"enum": [200, 201, 202]},
        "id": {"type": "string", "format": "uuid"},
        "archived": {"type": "boolean"},
        "rule": {"type": "string", "description": "the rule of policy that decided"},
        "scope": {"enum": ["internal", "federated"]},
        "policy_version": {"type": "integer"},
        "spooled": {"type": "boolean", "description": "on this front end's disk, not on the queue yet"},
        "notices": {
            "type": "array",
            "description": "deliver these before the IM, then POST /v1/notices/{id}/delivered: partners are"
            " told that they are archived",
            "items": {
                "type": "object",
                "required": ["to", "sender", "language", "text"],
                "properties": {
                    "to": {"type": "string", "description": "the partner, as a SIP URI"},
                    "sender": {"type": "string", "description": "one of ours, likewise"},
                    "language": {"type": "string", "description": "of the text (BCP 47)"},
                    "text": {"type": "string"},
                },
            },
        },
        "line": {"type": "integer", "description": "only in a stream: the line of the request, from 1"},
    },
}
_PROBLEM: Final[dict[str, Any]] = {
    "title": "Problem",
    "description": "RFC 9457",
    "type": "object",
    "required": ["status", "title", "detail"],
    "properties": {
        "status": {"type": "integer"},
        "title": {"type": "string"},
        "detail": {"type": "string", "description": "what is wrong and what to do"},
        "field": {"type": "string", "description": "JSON Pointer to the field (RFC 6901)"},
    },
}


def problem(description: str) -> dict[str, Any]:
    """Return the description of an answer that is a problem."""
    return {"description": description, "content": {"application/problem+json": {"schema": _PROBLEM}}}


def _answer(description: str, example: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": ANSWER, "example": example}},
    }


MESSAGES: Final[Operation] = {
    "summary": "May this IM be delivered?",
    "description": "These IMs: 201, 202 and 200 say yes. 503: no, not now.",
    "tags": ["messages"],
    "security": [{"connector": []}],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _IM, "example": _EXAMPLE},
            "application/x-ndjson": {
                "schema": {"type": "string", "description": "one IM a line"},
                "example": '{"sender": "a@contoso.com", "recipients": ["b@contoso.com"], "body": "one"}\n'
                '{"sender": "a@contoso.com", "recipients": ["b@contoso.com"], "body": "two"}\n',
            },
        },
    },
    "responses": {
        "201": _answer("Archived: confirmed by the broker, on disk. Deliver it.", _ACCEPTED),
        "202": _answer(
            "Archived: on this front end's disk, which sends it on when the broker is back. Deliver it.",
            _ACCEPTED | {"status": 202, "spooled": True},
        ),
        "200": {
            "description": "Not archived by rule: deliver it. Or, for a stream, its answers line by line:"
            " each has the status that the IM alone would have had.",
            "content": {
                "application/json": {
                    "schema": ANSWER,
                    "example": _ACCEPTED | {"status": 200, "archived": False, "rule": "internal-no-user"},
                },
                "application/x-ndjson": {"schema": {"oneOf": [ANSWER, _PROBLEM]}},
            },
        },
        "400": problem("Not JSON in UTF-8, or a name stands twice in an object."),
        "401": problem("No token, or one nobody has."),
        "403": problem("The connector doesn't speak for this pool or these people."),
        "408": problem("The request came too slowly."),
        "409": problem("The id was used for another content."),
        "413": problem("Too large."),
        "415": problem("Neither JSON nor NDJSON, or compressed, or not in UTF-8."),
        "422": problem("A field is wrong: which, and what to do."),
        "500": problem("A defect of the front end: its log says more."),
        "503": problem(
            "It must be archived and can't be made safe now: do not deliver it, send it again later."
        ),
    },
}
"""The operation ``POST /v1/messages``."""


def describe_operations(listeners: Iterable[Listener | type[Listener]]) -> Operations:
    """Return all listeners' operations, with a new id in their examples: one of a year ago is refused."""
    operations = {path: each for listener in listeners for path, each in listener.operations.items()}
    text = msgspec.json.encode(operations).replace(EXAMPLE_ID.encode(), str(make_id()).encode())
    described: Operations = msgspec.json.decode(text)
    return described
