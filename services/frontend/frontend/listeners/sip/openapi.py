"""OpenAPI: ``POST /v1/sip``."""

from typing import Any, Final

from frontend.listeners.listener import Operation
from frontend.listeners.openapi import ANSWER, MESSAGES, problem

_SIP: Final = """\
MESSAGE sip:administrator@contoso.com SIP/2.0\r
From: <sip:yannis@contoso.com>;tag=1\r
To: <sip:administrator@contoso.com>\r
Call-ID: 1@contoso.com\r
CSeq: 1 MESSAGE\r
Content-Type: text/plain\r
\r
Test Archiving Messages"""

_PASSED: Final[dict[str, Any]] = {
    "title": "Passed",
    "type": "object",
    "required": ["status", "archived", "rule"],
    "properties": {"status": {"const": 200}, "archived": {"type": "boolean"}, "rule": {"type": "string"}},
}
_COPY: Final = {
    "type": "string",
    "description": "with `LCS-Recipients`: what was said, to be sent to each of them",
}

OPERATION: Final[Operation] = {
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
                "application/json": {"schema": {"anyOf": [ANSWER, _PASSED]}},
                "*/*": {"schema": _COPY},
            },
        },
        "204": {"description": "It was about notices (LCS-Told, LCS-Untold): noted."},
        "404": problem("The notices it is about are not known here."),
        "400": problem("Not a SIP request that can be archived."),
        "406": problem("It offers to talk past the archive (MSRP, T.140, data channels, files)."),
        "415": problem("Nobody here can read its body's content coding."),
    },
}
"""The operation ``POST /v1/sip``."""
