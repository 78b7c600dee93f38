"""What ``POST /v1/messages`` accepts and answers, with examples, as OpenAPI says it."""

from typing import Any, Final, get_args

import msgspec

from contract.message import make_id
from contract.sdp import UnseenKind

_EXAMPLE: Final = {
    "sender": "yannis@contoso.com",
    "recipients": ["administrator@contoso.com"],
    "body": "Test Archiving Messages",
}
_ID: Final = "019aae41-7bf0-73eb-933d-9d1df16e2c30"
_ACCEPTED: Final = {
    "status": 201,
    "id": _ID,
    "archived": True,
    "rule": "internal-everyone",
    "scope": "internal",
    "policy_version": 4,
}
_PERSON: Final = (
    "a SIP URI (sip:), a JID's (xmpp:) or a telephone number's (tel:); or an address or JID without a scheme"
)
_SIP: Final = """\
MESSAGE sip:administrator@contoso.com SIP/2.0\r
From: <sip:yannis@contoso.com>;tag=1\r
To: <sip:administrator@contoso.com>\r
Call-ID: 1@contoso.com\r
CSeq: 1 MESSAGE\r
Content-Type: text/plain\r
\r
Test Archiving Messages"""

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
        "content_encoding": {
            "type": "string",
            "default": "",
            "description": "how the content is compressed (gzip, deflate, …); then it is sent in base64",
        },
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
_ANSWER: Final[dict[str, Any]] = {
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
_PASSED: Final[dict[str, Any]] = {
    "title": "Passed",
    "type": "object",
    "required": ["status", "archived", "rule"],
    "properties": {"status": {"const": 200}, "archived": {"type": "boolean"}, "rule": {"type": "string"}},
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


_COPY: Final = {
    "type": "string",
    "description": "with `LCS-Recipients`: what was said, to be sent to each of them",
}


def _problem(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/problem+json": {"schema": _PROBLEM}}}


def _answer(description: str, example: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": _ANSWER, "example": example}},
    }


MESSAGES: Final[dict[str, Any]] = {
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
                    "schema": _ANSWER,
                    "example": _ACCEPTED | {"status": 200, "archived": False, "rule": "internal-no-user"},
                },
                "application/x-ndjson": {"schema": {"oneOf": [_ANSWER, _PROBLEM]}},
            },
        },
        "400": _problem("Not JSON in UTF-8, or a name stands twice in an object."),
        "401": _problem("No token, or one nobody has."),
        "403": _problem("The connector doesn't speak for this pool or these people."),
        "408": _problem("The request came too slowly."),
        "409": _problem("The id was used for another content."),
        "413": _problem("Too large."),
        "415": _problem("Neither JSON nor NDJSON, or compressed, or not in UTF-8."),
        "422": _problem("A field is wrong: which, and what to do."),
        "500": _problem("A defect of the front end: its log says more."),
        "503": _problem(
            "It must be archived and can't be made safe now: do not deliver it, send it again later."
        ),
    },
}
"""The operation ``POST /v1/messages``."""
SIP: Final[dict[str, Any]] = {
    "summary": "May this SIP request be relayed?",
    "description": "200, 201 and 202: yes.",
    "tags": ["messages"],
    "security": [{"connector": []}],
    "requestBody": {
        "required": True,
        "content": {"message/sip": {"schema": {"type": "string"}, "example": _SIP}},
    },
    "responses": {
        status: MESSAGES["responses"][status]
        for status in (*("401", "403", "408", "409", "413", "422", "500", "503"),)
    }
    | {
        status: {
            "description": described["description"],
            "content": described["content"] | {"*/*": {"schema": _COPY}},
        }
        for status in ("201", "202")
        for described in (MESSAGES["responses"][status],)
    }
    | {
        "200": {
            "description": "Not archived: by rule, or it says nothing, or is archived already. Relay it.",
            "content": {
                "application/json": {"schema": {"anyOf": [_ANSWER, _PASSED]}},
                "*/*": {"schema": _COPY},
            },
        },
        "204": {"description": "It was about notices (LCS-Told, LCS-Untold): noted."},
        "404": _problem("The notices it is about are not known here."),
        "400": _problem("Not a SIP request that can be archived."),
        "406": _problem("It offers to talk past the archive (MSRP, T.140, data channels, files)."),
        "415": _problem("Nobody here can read its body's content coding."),
    },
}
"""The operation ``POST /v1/sip``."""
NOTICES: Final[dict[str, Any]] = {
    "summary": "The notices of an IM are delivered",
    "description": "Say so once partners have them: until then they are handed over again, with an IM that"
    " comes ten seconds later, then at longer intervals.",
    "tags": ["messages"],
    "security": [{"connector": []}],
    "parameters": [
        {
            "name": "im",
            "in": "path",
            "required": True,
            "description": "the IM whose answer had the notices",
            "schema": {"type": "string", "format": "uuid"},
            "example": _ID,
        }
    ],
    "responses": {
        "202": {"description": "Noted, and recorded as soon as the admin API is back."},
        "204": {"description": "Recorded: the partners were told."},
        **{status: MESSAGES["responses"][status] for status in ("401", "403", "415", "422", "500", "503")},
        "404": _problem("This connector was handed no notice with this IM."),
    },
}
"""The operation ``POST /v1/notices/{im}/delivered``."""
UNDELIVERED: Final[dict[str, Any]] = NOTICES | {
    "summary": "The notices of an IM can't be delivered",
    "description": "Say so if they can't: partners not told yet are to be told with the next IM.",
    "responses": NOTICES["responses"] | {"204": {"description": "Recorded: they are taken back."}},
}
"""The operation ``POST /v1/notices/{im}/undelivered``."""
ATTEMPTS: Final[dict[str, Any]] = {
    "summary": "Somebody tried to talk past the archive, and was refused",
    "description": "It is counted, and stands in the two people's call detail records.",
    "tags": ["messages"],
    "security": [{"connector": []}],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["sender", "recipient", "kind"],
                    "additionalProperties": False,
                    "properties": {
                        "sender": {"type": "string"},
                        "recipient": {"type": "string"},
                        "kind": {"enum": list(get_args(UnseenKind))},
                    },
                },
                "example": {
                    "sender": "yannis@contoso.com",
                    "recipient": "administrator@contoso.com",
                    "kind": "file",
                },
            }
        },
    },
    "responses": {"204": {"description": "Noted."}}
    | {
        status: MESSAGES["responses"][status]
        for status in ("400", "401", "403", "408", "413", "415", "422", "500", "503")
    },
}
"""The operation ``POST /v1/attempts``."""
_OPERATIONS: Final = {
    "/v1/messages": MESSAGES,
    "/v1/sip": SIP,
    "/v1/notices/{im}/delivered": NOTICES,
    "/v1/notices/{im}/undelivered": UNDELIVERED,
    "/v1/attempts": ATTEMPTS,
}
"""By their paths."""


def describe_operations() -> dict[str, dict[str, Any]]:
    """Return the operations with an id of now in their examples: a year later it would be refused."""
    text = msgspec.json.encode(_OPERATIONS).replace(_ID.encode(), str(make_id()).encode())
    operations: dict[str, dict[str, Any]] = msgspec.json.decode(text)
    return operations
