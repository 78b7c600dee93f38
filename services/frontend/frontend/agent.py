"""The archiving agent: decides on each IM by policy, and has every IM that must be archived kept safe."""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final
from uuid import UUID

from contract.cdr import Activity
from contract.conversation import conversation_key
from contract.message import Scope
from contract.policy import Policy
from frontend.cdr import CDR
from frontend.config import FrontEndSettings
from frontend.im import CheckedIM, IMProblem
from frontend.policy.decisions import Decisions
from frontend.policy.disclaimers import Disclaimers
from frontend.policy.newcomers import SMALL, Newcomers
from frontend.policy.policies import Policies
from frontend.publisher import Publisher
from frontend.receipt import NOT_ARCHIVED, Receipt
from frontend.safekeeping import Safekeeping
from frontend.spool.spool import Spool
from frontend.waiting import Lane, Pending
from runtime.problem import Problem
from runtime.token import Connector

if TYPE_CHECKING:  # OpenTelemetry is loaded only where it is used
    from frontend.spans import Tracing

RETRY_AFTER: Final = {"Retry-After": "1"}


class Agent:
    """Takes IMs in, and has those made safe that policy archives."""

    def __init__(
        self,
        settings: FrontEndSettings,
        policies: Policies,
        publisher: Publisher,
        spool: Spool,
        tracing: "Tracing | None" = None,
        connectors: Collection[Connector] = (),
    ) -> None:
        """``connectors``: all that have a token, also of other pools."""
        self._settings = settings
        self._policies = policies
        self._tracing = tracing
        callers = len({each.name for each in connectors if each.pool == settings.pool})
        self.safekeeping = Safekeeping(settings, policies, publisher, spool, tracing, callers, self._note)
        """Where IMs wait until they are safe."""
        self._decisions = Decisions(settings.pool, connectors)
        self.disclaimers = Disclaimers(settings, policies)
        """Notices for partners: that a conversation is archived."""
        self.cdr = CDR(settings, policies)
        """Call detail records of IMs that may be delivered."""
        self._newcomers = Newcomers()
        # Bounded by entries alone: nothing in one is as long as its caller likes.
        self._recent: OrderedDict[UUID, tuple[bytes, Receipt]] = OrderedDict()

    @property
    def policy(self) -> Policy | None:
        """The policy that decides now."""
        return self._policies.current

    def lane_of(self, connector: Connector) -> Lane:
        """Return a connector's lane; ``submit`` refuses its IMs while the lane has no room."""
        return self.safekeeping.lane_of(connector)

    def submit(
        self, im: CheckedIM, connector: Connector, lane: Lane, traceparent: str | None = None
    ) -> Receipt:
        """Decide on an IM, and take it in if it must be archived.

        ``lane``: the connector's. ``traceparent``: the sender's context (W3C Trace Context).

        Raises IMProblem: 403 if the connector may not send it, 409 if its id was used for another content,
        503 if too many IMs wait already.
        """
        receipt = self._take_in(im, connector, lane, traceparent)
        if receipt.decision.scope == "internal":  # as most: nobody is to be told
            return receipt
        return self.disclaimers.accompany(im, receipt, connector.name)

    def _take_in(self, im: CheckedIM, connector: Connector, lane: Lane, traceparent: str | None) -> Receipt:
        decision = self._decisions.decide(self._policies.current, im, connector)
        im.client = im.client or connector.name
        if im.keyed:
            im.conversation, im.keyed = conversation_key(connector.name, im.conversation), False
        if not decision.archive:
            self.cdr.note_im(im, decision)
            return Receipt(im.id, decision, NOT_ARCHIVED)
        digest = b""
        if im.brought:
            digest = im.digest()
            known = self._recent.get(im.id)
            if known is not None:
                if known[0] != digest:
                    raise IMProblem(
                        im.id,
                        409,
                        "this id was used for another content: make a new id for each IM",
                        field="/id",
                    )
                return known[1]
        if not lane.has_room.is_set():
            raise IMProblem(
                im.id, 503, "too many IMs wait for the broker: send it again later", headers=RETRY_AFTER
            )
        if len(im.recipients) > SMALL:
            self._newcomers.check(im, connector.name)
        receipt = Receipt(im.id, decision)
        if self._tracing is not None:
            self._tracing.begin(receipt, traceparent)
        if im.brought:
            self._remember(receipt, digest)
        self.safekeeping.keep(im, receipt, lane)
        return receipt

    def note_session(self, activity: Activity, connector: Connector) -> None:
        """Note a session's begin or end in the call detail records, under the connector's own key.

        Raises Problem (403) if the connector may not speak for the sender of one that begins, or of an
        attempt.
        """
        if activity.invited or activity.attempts:  # who ends one may be a partner whom nobody vouches for
            self._check_rights(activity, connector)
        self.cdr.note_session(activity, connector.name)

    def note_attempt(self, activity: Activity, connector: Connector) -> None:
        """Note an attempt to talk past the archive, outside a session, in the call detail records.

        Raises Problem (403) if the connector may not speak for the sender.
        """
        self._check_rights(activity, connector)
        self.cdr.note(activity)

    def scope_of(self, people: Iterable[str]) -> Scope:
        """Return the scope of an IM between these people; without a policy all are taken for ours."""
        policy = self._policies.current
        return "internal" if policy is None or all(map(policy.is_local, people)) else "federated"

    def _check_rights(self, activity: Activity, connector: Connector) -> None:
        sender, recipients = activity.sender, activity.recipients
        if why := self._decisions.refusal_of(self._policies.current, sender, recipients, connector):
            raise Problem(403, why)

    def _remember(self, receipt: Receipt, digest: bytes) -> None:
        self._recent[receipt.id] = (digest, receipt)
        if len(self._recent) > self._settings.remembered_ids:
            self._recent.popitem(last=False)

    def _note(self, pending: Pending) -> None:
        """Note an IM's fate: in the call detail records or, if it was refused, that its id is free again."""
        fate = pending.receipt.fate
        assert fate is not None
        if fate.kind != "refused":
            self.cdr.note_im(pending.im, pending.receipt.decision)
        elif pending.im.brought:
            self._recent.pop(pending.im.id, None)

    async def run(self) -> None:
        """Make IMs safe, tell partners and publish call detail records, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.safekeeping.run())
            group.create_task(self.disclaimers.run())
            group.create_task(self.cdr.run())

    async def drain(self) -> None:
        """Wait until every IM taken in is answered; then publish the last statement and the last records."""
        await self.safekeeping.drain()
        await self.cdr.drain()
