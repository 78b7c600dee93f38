"""The reception: all that listeners share, from a caller's token to the answer for its IM."""

import contextlib
from collections.abc import Iterator, Sequence
from uuid import UUID

from fastapi import Request, Response

from frontend.agent import Agent
from frontend.config import FrontEndSettings
from frontend.im import CheckedIM
from frontend.listeners.answer import Answer, outcome_of
from frontend.listeners.connectors import Connectors
from frontend.listeners.intake import Intake
from frontend.metrics import ANSWERED
from runtime.listening import most_connections
from runtime.problem import Problem
from runtime.token import Connector


class Reception:
    """Knows the callers, bounds what they send, and hands their IMs to the agent."""

    def __init__(self, settings: FrontEndSettings, agent: Agent, known: Sequence[Connector]) -> None:
        """``known``: all connectors that have a token, also of other pools."""
        self.settings = settings
        self.agent = agent
        self.known = known
        self.connectors = Connectors(settings.pool, known)
        """Tells by its token which connector calls."""
        self.intake = Intake(settings, most_connections(), self.connectors.count)
        """Reads requests."""

    async def take_in(
        self, im: CheckedIM, connector: Connector, request: Request, traceparent: str | None = None
    ) -> Answer:
        """Hand a request's IM to the agent; return the answer once the IM's fate is known.

        Raises Problem.
        """
        agent = self.agent
        receipt = agent.submit(im, connector, agent.lane_of(connector), traceparent)
        await receipt.settled()
        outcome = outcome_of(receipt)
        if isinstance(outcome, Problem):
            raise outcome
        if outcome.notices and await request.is_disconnected():
            with contextlib.suppress(LookupError):  # nobody gets this answer, and so its notices
                await agent.disclaimers.retract(outcome.id, connector.name)
        return outcome

    async def note_delivery(self, im: UUID, connector: Connector, *, delivered: bool) -> Response:
        """Note that a connector delivered the notices that it was handed with an IM, or could not.

        Return the answer: 204 if that is recorded, 202 if it will be. Raises Problem (404).
        """
        disclaimers = self.agent.disclaimers
        note = disclaimers.confirm if delivered else disclaimers.retract
        try:
            recorded = await note(im, connector.name)
        except LookupError:
            why = f"connector {connector.name!r} was handed no notice with this IM"
            raise Problem(404, why, field="im") from None
        return Response(status_code=204 if recorded else 202)


@contextlib.contextmanager
def count_problems() -> Iterator[None]:
    """Count a Problem that is raised inside as an answer; the answers themselves are counted where made."""
    try:
        yield
    except Problem as problem:
        ANSWERED.labels(problem.status, "").inc()
        raise
