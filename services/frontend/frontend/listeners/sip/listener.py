"""``POST /v1/sip``: may a request that came to the pool's SIP edge be relayed?"""

import base64
import re
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import ClassVar, Final
from uuid import UUID

import msgspec
from fastapi import Request as HTTPRequest
from fastapi import Response
from starlette.routing import Route

from contract.address import AddressError, domain_of, parse_address, route_of, uri_of
from contract.cdr import DISGUISED, ENDED, Activity
from contract.message import time_at
from frontend.im import CheckedIM
from frontend.listeners.answer import Answer
from frontend.listeners.listener import Listener
from frontend.listeners.reception import Reception, count_problems
from frontend.listeners.sip.content import CodedError, Said, find_offers, find_said, is_disguised
from frontend.listeners.sip.mime import parameters_of, type_of
from frontend.listeners.sip.openapi import OPERATION
from frontend.listeners.sip.request import (
    Request,
    Session,
    SIPError,
    client_of,
    find_session,
    parse_request,
    read_address,
    session_of,
)
from frontend.listeners.sip.vouchers import VoucherError, Vouchers
from frontend.listeners.submission import Submission, check_submission
from frontend.metrics import ANSWERED, ATTEMPTS, FORGED
from runtime.problem import Problem
from runtime.token import Connector

CONTENT_TYPE: Final = "message/sip"
"""RFC 3261, 27.5."""
TOAST_HEADER: Final = "LCS-Toast"
"""A voucher of an INVITE's text: whether it was archived. The edge returns it with the session's first
MESSAGE, because many clients repeat the text there."""
_TOAST_SECONDS: Final = 120
"""Seconds that the edge keeps it."""
RECIPIENTS_HEADER: Final = "LCS-Recipients"
"""Recipients to whom the edge sends the answer's body, a copy each (RFC 5365)."""
ENDED_HEADER: Final = "LCS-Ended"
"""From the edge, with an INVITE: the status with which it was refused."""
NOTICES_HEADER: Final = "LCS-Notices"
"""Notices that the edge delivers before it relays: URI, text in base64, URI, text, … between bars."""
NOTICES_SENDER_HEADER: Final = "LCS-Notices-From"
NOTICES_IM_HEADER: Final = "LCS-Notices-IM"
"""A voucher of the notices' IM, which ``LCS-Told`` or ``LCS-Untold`` brings back."""
_NOTICES_SECONDS: Final = 6 * 3600
"""Seconds within which a notice can be taken back."""
_TEXT_HEADER: Final = "LCS-Text-Format"
"""``Ms-Text-Format`` as it is archived, in place of the one that came."""
ARCHIVED_HEADER: Final = "LCS-Archived"
"""``yes`` if the text is archived, else ``no``: the edge shows it to our own clients."""
_MAX_LIST: Final = 20_000
"""Characters of ``LCS-Recipients`` and ``LCS-Text-Format``, at most: proxies on the way (HAProxy's
tune.bufsize) must hold them."""
UNSEEN_HEADER: Final = "LCS-Unseen"
"""Kinds of content that a session may send past the archive, as policy allows: an answer may agree."""
UNTOLD_HEADER: Final = "LCS-Untold"
"""From the edge, with the request again: the voucher of notices that were not delivered, nor was the IM."""
TOLD_HEADER: Final = "LCS-Told"
"""From the edge, with the request again: the voucher of notices that partners' edges have taken."""
for _header in (TOAST_HEADER, TOLD_HEADER, UNTOLD_HEADER):
    FORGED.labels(_header)  # counted from zero
NOTHING_SAID: Final = "nothing-said"
SAID_BEFORE: Final = "said-before"

_encoder = msgspec.json.Encoder()


class Passed(msgspec.Struct):
    """The answer for a request that is empty, or archived already."""

    status: int
    archived: bool
    rule: str


class SIPListener(Listener):
    """The SIP side of a front end. The edge relays a request answered 200, 201 or 202, and no other."""

    operations: ClassVar = {"/v1/sip": {"post": OPERATION}}

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._settings = reception.settings
        self._agent = reception.agent
        self._vouchers = Vouchers(reception.known, reception.settings.admin_api_token)
        self.routes = [Route("/v1/sip", self.receive, methods=["POST"])]

    async def receive(self, request: HTTPRequest) -> Response:
        """Answer whether a SIP request may be relayed: 200, 201 and 202 say yes."""
        connector = self._reception.connectors.identify(request)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != CONTENT_TYPE:
            raise Problem(415, f"send the SIP request as it came, as {CONTENT_TYPE}")
        async with self._reception.intake.request(request, connector) as raw:
            return await self._receive(request, connector, raw)

    async def _receive(self, request: HTTPRequest, connector: Connector, raw: bytes) -> Response:
        for header in (UNTOLD_HEADER, TOLD_HEADER):
            if header in request.headers:
                im = self._noticed_im(connector, header, request.headers[header])
                delivered = header == TOLD_HEADER
                return await self._reception.note_delivery(im, connector, delivered=delivered)
        with count_problems():
            return await self._answer(request, connector, raw)

    async def _answer(self, request: HTTPRequest, connector: Connector, raw: bytes) -> Response:
        """Return the answer for a request that is not about notices. Raises Problem."""
        ended = request.headers.get(ENDED_HEADER, "")
        if ended and re.search(ENDED, ended) is None:
            raise Problem(422, "write the status that refused it, as 486", field=ENDED_HEADER)
        try:
            sip = parse_request(raw)
            session = find_session(sip, ended)
            if session is not None and session.ended == ended != "":
                self._note(session, connector)
                return _pass(False, NOTHING_SAID)
            _check_callee(sip)
            offers = self._check_offers(sip, connector)
            said = find_said(sip)
        except CodedError as error:
            raise Problem(415, str(error)) from None
        except SIPError as error:
            raise Problem(400, f"not a SIP request that can be archived: {error}") from None
        if said is None:
            self._note(session, connector)
            return _pass(False, NOTHING_SAID)
        submission = _submission_of(said)
        im = check_submission(submission, len(raw), self._settings)
        about = _digest(im)
        toast = request.headers.get(TOAST_HEADER, "")
        if toast and sip.method == "MESSAGE" and (archived := self._take_toast(connector, toast, about)):
            return _pass(archived == "yes", SAID_BEFORE, {ARCHIVED_HEADER: archived})
        routes = {route.lower(): route for route in map(route_of, submission.recipients)}
        recipients = "|".join(routes.values())
        if len(recipients) > _MAX_LIST:
            raise Problem(413, "too many recipients for a list: send it to some at a time")
        text = _text_format_of(said)
        if said.toast and len(text) > _MAX_LIST:
            raise Problem(413, "too long a text in Ms-Text-Format: say it in a MESSAGE")
        im.client = client_of(sip)
        outcome = await self._reception.take_in(im, connector, request)
        attempts = (DISGUISED,) if is_disguised(sip, said) else ()
        noted = session_of(sip) if offers or attempts else session
        self._note(noted, connector, offers, attempts, at=im.sent_at)
        ANSWERED.labels(outcome.status, outcome.rule).inc()
        archived = "yes" if outcome.archived else "no"
        headers = self._notices_in(connector, outcome) | {ARCHIVED_HEADER: archived}
        if said.toast:
            headers[TOAST_HEADER] = self._vouchers.give(
                connector, TOAST_HEADER, archived, about=about, seconds=_TOAST_SECONDS
            )
            headers[_TEXT_HEADER] = text
        if offers:
            headers[UNSEEN_HEADER] = " ".join(sorted(offers))
        if said.listed:
            headers |= {RECIPIENTS_HEADER: recipients, "Content-Type": said.content_type}
            return Response(said.content, outcome.status, headers)
        return Response(_encoder.encode(outcome), outcome.status, headers, media_type="application/json")

    def _check_offers(self, sip: Request, connector: Connector) -> frozenset[str]:
        """Return the media that a request offers past the archive, as policy allows. Raises Problem (406),
        SIPError."""
        offers = find_offers(sip)
        policy = self._agent.policy
        allowed = policy.pool(self._settings.pool).unseen_media if policy is not None else ()
        refused = offers.difference(allowed)
        if not refused:
            return offers
        self._note(session_of(sip, "488"), connector, attempts=refused)
        kinds = ", ".join(sorted(refused))
        raise Problem(
            406,
            f"it offers to talk past the archive ({kinds}): offer audio or video, or have an administrator"
            f" allow it in unseen_media (PUT /v1/policy/pools/{self._settings.pool})",
        )

    def _take_toast(self, connector: Connector, toast: str, about: str) -> str:
        """Return "yes" or "no", as the text was archived with its INVITE; "" if it was not in it."""
        try:
            return self._vouchers.take(connector, TOAST_HEADER, toast, about=about)
        except VoucherError:
            FORGED.labels(TOAST_HEADER).inc()
            return ""

    def _noticed_im(self, connector: Connector, header: str, voucher: str) -> UUID:
        """Return the IM of notices that a connector was handed. Raises Problem (400)."""
        try:
            return UUID(self._vouchers.take(connector, UNTOLD_HEADER, voucher))
        except VoucherError as error:
            FORGED.labels(header).inc()
            raise Problem(400, f"{header}: {error}; bring back {NOTICES_IM_HEADER} as it came") from None

    def _notices_in(self, connector: Connector, outcome: Answer) -> dict[str, str]:
        """Return the headers with the notices for partners; no escaped address has a bar."""
        notices = outcome.notices
        if not notices:
            return {}
        texts = (
            f"{uri_of(notice.to)}|{base64.b64encode(notice.text.encode()).decode()}" for notice in notices
        )
        return {
            NOTICES_HEADER: "|".join(texts),
            NOTICES_SENDER_HEADER: uri_of(notices[0].sender),
            NOTICES_IM_HEADER: self._vouchers.give(
                connector, UNTOLD_HEADER, str(outcome.id), seconds=_NOTICES_SECONDS
            ),
        }

    def _note(
        self,
        session: Session | None,
        connector: Connector,
        unseen: Iterable[str] = (),
        attempts: Iterable[str] = (),
        at: datetime | None = None,
    ) -> None:
        """Note a session's begin or end in the call detail records, and attempts to pass the archive in it.

        ``at``: when, by default now. Raises Problem (403).
        """
        for kind in attempts:
            ATTEMPTS.labels(kind).inc()
        if session is None:
            return
        try:
            sender, recipient = parse_address(session.sender), parse_address(session.recipient)
        except AddressError:
            return  # between whom nobody can say: neither is archived
        at = at or time_at(time.time_ns() // 1_000_000)
        self._agent.note_session(
            Activity(
                conversation=session.conversation,
                sender=sender,
                recipients=(recipient,),
                scope=self._agent.scope_of((sender, recipient)),
                pool=self._settings.pool,
                client=session.client,
                first=at,
                last=at,
                invited=session.invited,
                ended=session.ended,
                unseen=tuple(sorted(unseen)),
                attempts=dict.fromkeys(attempts, 1),
            ),
            connector,
        )


def _check_callee(sip: Request) -> None:
    """Raise SIPError if a session begins with another than ``To`` names: its texts are sent to that one."""
    callee, tag = read_address(sip, "to")
    if sip.method != "INVITE" or tag:
        return
    try:
        same = parse_address(callee) == parse_address(sip.uri)
    except AddressError as error:
        raise SIPError(str(error)) from None
    if not same:
        raise SIPError("the session is with another than To names: name who it is with")


def _at_home(uri: str, sender: str) -> str:
    """Return a telephone number as the edge relays to it: in its sender's domain (RFC 3261, 19.1.6)."""
    try:
        number, domain = parse_address(uri), domain_of(parse_address(sender))
    except AddressError:
        return uri
    return f"sip:{number[4:]}@{domain}" if domain and number.startswith("tel:+") else uri


def _submission_of(said: Said) -> Submission:
    return Submission(
        sender=said.sender,
        recipients=[_at_home(each, said.sender) for each in said.recipients],
        body=said.body,
        conversation=said.conversation,
        content_type=said.content_type,
        encoding=said.encoding,
        content_encoding=said.content_encoding,
    )


def _text_format_of(said: Said) -> str:
    """Return the header that carries a text in an INVITE, with no text in it that is not archived."""
    return f"{said.content_type};ms-body={base64.b64encode(said.content).decode()}"


def _pass(archived: bool, rule: str, headers: Mapping[str, str] | None = None) -> Response:
    ANSWERED.labels(200, rule).inc()
    body = _encoder.encode(Passed(200, archived, rule))
    return Response(body, 200, headers, media_type="application/json")


def _digest(im: CheckedIM) -> str:
    """Return a digest of a session's text and recipients, to know the text again.

    Its type may be written in another way again; of its parameters the character set counts.
    """
    charset = "" if im.encoding == "text" else parameters_of(im.content_type).get("charset", "")
    alike = msgspec.structs.replace(im, content_type=f"{type_of(im.content_type)};{charset.lower()}")
    return alike.digest().hex()
