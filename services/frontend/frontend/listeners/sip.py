"""``POST /v1/sip``: a request as it came to the pool's SIP edge. May it be relayed?"""

import base64
import hashlib
import time
from collections.abc import Mapping
from typing import Final
from uuid import UUID

import msgspec
from fastapi import Request as HTTPRequest
from fastapi import Response
from starlette.routing import Route

from contract.address import AddressError, domain_of, parse_address
from contract.cdr import Activity
from contract.message import time_at
from contract.problem import Problem
from frontend.agent import Agent
from frontend.config import FrontEndSettings
from frontend.listeners.connectors import Connectors
from frontend.listeners.http import Answer, read_body, take_in
from frontend.metrics import ANSWERED
from frontend.sip import Said, Session, SIPError, client_of, escape, find_said, find_session, parse_request
from frontend.submission import Submission, check_submission

CONTENT_TYPE: Final = "message/sip"
"""RFC 3261, 27.5."""
TOAST_HEADER: Final = "LCS-Toast"
"""What the edge is given with the answer to an INVITE that carries text, and brings back with the session's
first MESSAGE, for many clients send that text again: its digest, and whether it is archived."""
RECIPIENTS_HEADER: Final = "LCS-Recipients"
"""To whom the edge is to send what was said, a copy each (RFC 5365): it is the answer's body."""
ENDED_HEADER: Final = "LCS-Ended"
"""From the edge, with an INVITE: the status with which it was refused."""
NOTICES_HEADER: Final = "LCS-Notices"
"""What the edge is to tell partners before it relays: URI, text in base64, URI, text, … between bars."""
NOTICES_SENDER_HEADER: Final = "LCS-Notices-From"
NOTICES_IM_HEADER: Final = "LCS-Notices-IM"
"""The IM with which they are told: what ``LCS-Untold`` brings back if they could not be."""
ARCHIVED_HEADER: Final = "LCS-Archived"
"""Whether what was said is archived, ``yes`` or ``no``: the edge shows it to our own clients."""
_MAX_LIST: Final = 20_000
"""Characters of ``LCS-Recipients`` at most; what is on the way (HAProxy's tune.bufsize) must hold it."""
UNTOLD_HEADER: Final = "LCS-Untold"
"""From the edge, with the request again: the IM of notices that could not be delivered, nor was the IM."""
NOTHING_SAID: Final = "nothing-said"
SAID_BEFORE: Final = "said-before"

_encoder = msgspec.json.Encoder()


class Passed(msgspec.Struct):
    """The answer for what holds nothing to archive, or what is archived already."""

    status: int
    archived: bool
    rule: str


class SIPListener:
    """The SIP side of a front end. The edge relays what is answered 200, 201 or 202, and nothing else."""

    def __init__(self, settings: FrontEndSettings, agent: Agent, connectors: Connectors) -> None:
        """``connectors``: the SIP edge is one of them."""
        self._settings = settings
        self._agent = agent
        self._connectors = connectors
        self.route = Route("/v1/sip", self.receive, methods=["POST"])

    async def receive(self, request: HTTPRequest) -> Response:
        """May this SIP request be relayed? 200, 201 and 202: yes."""
        connector = self._connectors.identify(request)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != CONTENT_TYPE:
            raise Problem(415, f"send the SIP request as it came, as {CONTENT_TYPE}")
        raw = await read_body(request, self._settings.max_im_bytes)
        if UNTOLD_HEADER in request.headers:
            return self._take_back(request.headers[UNTOLD_HEADER])
        try:
            try:
                sip = parse_request(raw)
                said = find_said(sip)
                session = find_session(sip, request.headers.get(ENDED_HEADER, ""))
            except SIPError as error:
                raise Problem(400, f"not a SIP request that can be archived: {error}") from None
            if said is None or (session is not None and session.ended):
                self._note(session)
                return _pass(False, NOTHING_SAID)
            digest = _digest(said)
            toast, _, archived = request.headers.get(TOAST_HEADER, "").partition(" ")
            if sip.method == "MESSAGE" and toast == digest:
                return _pass(archived == "yes", SAID_BEFORE, {ARCHIVED_HEADER: archived})
            im = check_submission(_submission_of(said), len(raw), self._settings)
            recipients = "|".join(map(escape, im.recipients))
            if len(recipients) > _MAX_LIST:
                raise Problem(413, "too many recipients for a list: send it to some at a time")
            im.client = client_of(sip)
            outcome = await take_in(self._agent, im, connector)
            self._note(session)
        except Problem as problem:
            ANSWERED.labels(problem.status, "").inc()
            raise
        ANSWERED.labels(outcome.status, outcome.rule).inc()
        archived = "yes" if outcome.archived else "no"
        headers = _notices_in(outcome) | {ARCHIVED_HEADER: archived}
        if sip.method == "INVITE":
            headers[TOAST_HEADER] = f"{digest} {archived}"
        if said.listed:
            headers |= {RECIPIENTS_HEADER: recipients, "Content-Type": said.content_type}
            return Response(said.content, outcome.status, headers)
        return Response(_encoder.encode(outcome), outcome.status, headers, media_type="application/json")

    def _take_back(self, untold: str) -> Response:
        try:
            self._agent.disclaimers.retract(UUID(untold))
        except ValueError:
            raise Problem(400, f"{UNTOLD_HEADER} is not the id of an IM") from None
        return Response(status_code=204)

    def _note(self, session: Session | None) -> None:
        """Have a session's begin or end in the call detail records."""
        if session is None:
            return
        try:
            sender, recipient = parse_address(session.sender), parse_address(session.recipient)
        except AddressError:
            return  # between whom nobody can say: neither is archived
        policy = self._agent.policy
        people = {domain_of(sender), domain_of(recipient)}
        now = time_at(time.time_ns() // 1_000_000)
        self._agent.cdr.note_session(
            Activity(
                conversation=session.conversation,
                sender=sender,
                recipients=(recipient,),
                scope="internal" if policy is None or people <= policy.domains else "federated",
                pool=self._settings.pool,
                client=session.client,
                first=now,
                last=now,
                invited=session.invited,
                ended=session.ended,
            )
        )


def _submission_of(said: Said) -> Submission:
    return Submission(
        sender=said.sender,
        recipients=said.recipients,
        body=said.body,
        conversation=said.conversation,
        content_type=said.content_type,
        encoding=said.encoding,
    )


def _notices_in(outcome: Answer) -> dict[str, str]:
    """Return the headers that say what partners are told; a bar stands in no escaped address."""
    notices = outcome.notices
    if not notices:
        return {}
    texts = (f"{escape(notice.to)}|{base64.b64encode(notice.text.encode()).decode()}" for notice in notices)
    return {
        NOTICES_HEADER: "|".join(texts),
        NOTICES_SENDER_HEADER: escape(notices[0].sender),
        NOTICES_IM_HEADER: str(outcome.id),
    }


def _pass(archived: bool, rule: str, headers: Mapping[str, str] | None = None) -> Response:
    ANSWERED.labels(200, rule).inc()
    body = _encoder.encode(Passed(200, archived, rule))
    return Response(body, 200, headers, media_type="application/json")


def _digest(said: Said) -> str:
    """Return what tells a text of a session from others. Its type may be written in another way again."""
    text = "\0".join((said.conversation or "", said.sender.lower(), said.encoding, said.body))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
