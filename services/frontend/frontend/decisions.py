"""Decisions: what policy says of an IM, and what it said of the last one between the same people."""

from typing import Final

from contract.policy import Decision, Policy, decide
from contract.token import Connector
from frontend.submission import CheckedIM, check_connector

_MAX_REMEMBERED: Final = 100_000
_MAX_RECIPIENTS: Final = 8


class Decisions:
    """A pool's decisions, remembered for as long as a policy lasts."""

    def __init__(self, pool: str) -> None:
        """``pool``: the front end's."""
        self._pool = pool
        self._policy: Policy | None = None
        self._remembered: dict[tuple[str, tuple[str, ...], str, str], Decision] = {}

    def decide(self, policy: Policy | None, im: CheckedIM, connector: Connector) -> Decision:
        """Decide on an IM. Raises IMProblem (403) if the connector may not send it.

        A policy is never changed: a new version is another object.
        """
        if policy is not self._policy or len(self._remembered) >= _MAX_REMEMBERED:
            self._policy = policy
            self._remembered.clear()
        key = (im.sender, im.recipients, im.content_type, connector.hash)
        decision = self._remembered.get(key)
        if decision is None:
            check_connector(connector, im, policy.domains if policy is not None else connector.domains)
            decision = decide(
                policy,
                pool=self._pool,
                sender=im.sender,
                recipients=im.recipients,
                content_type=im.content_type,
                domains=connector.domains,
            )
            if len(im.recipients) <= _MAX_RECIPIENTS:  # a long list hardly comes again
                self._remembered[key] = decision
        return decision
