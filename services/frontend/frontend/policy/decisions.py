"""Decisions by policy on IMs, remembered for IMs between the same people."""

from collections.abc import Iterable, Sequence
from typing import Final

from contract.address import domain_of
from contract.policy import ANY_DOMAIN, ConnectorRights, Decision, Policy, decide
from contract.remembered import Remembered, weigh_texts
from frontend.im import CheckedIM, IMProblem
from runtime.token import Connector

_REMEMBERED_BYTES: Final = 64 << 20
_MAX_RECIPIENTS: Final = 8
_MAX_NAMED: Final = 5
_NUMBERS: Final = "telephone numbers"
"""Which name no domain."""
_Key = tuple[str, tuple[str, ...], Connector]
"""Sender, recipients and connector: all of an IM that a decision is made of."""


class Decisions:
    """A pool's decisions, remembered for as long as a policy lasts."""

    def __init__(self, pool: str, connectors: Iterable[Connector] = ()) -> None:
        """``pool``: the front end's. ``connectors``: all that have a token here."""
        self._pool = pool
        self._filed = frozenset(domain for connector in connectors for domain in connector.domains)
        self._policy: Policy | None = None
        self._ours = self._filed
        """Domains that any connector speaks for, by that policy or a file."""
        self._rights: dict[str, ConnectorRights] = {}
        """Of connectors by that policy, by the hash of their tokens."""
        self._remembered = Remembered[_Key, Decision](
            _REMEMBERED_BYTES, lambda key, _: weigh_texts(key[0], *key[1])
        )

    def decide(self, policy: Policy | None, im: CheckedIM, connector: Connector) -> Decision:
        """Decide on an IM. Raises IMProblem (403) if the connector may not send it.

        A policy is never changed: a new version is another object.
        """
        if policy is not self._policy:
            self._forget(policy)
        key = (im.sender, im.recipients, connector)
        decision = self._remembered.get(key) or self._remembered.recall(key)
        if decision is None:
            if why := self.refusal_of(policy, *key):
                raise IMProblem(im.id, 403, why, field="/sender")
            decision = self._make(*key)
            if len(im.recipients) <= _MAX_RECIPIENTS:  # a long list hardly comes again
                self._remembered.put(key, decision)
        return decision

    def _make(self, sender: str, recipients: tuple[str, ...], connector: Connector) -> Decision:
        """Return the decision on the parts of a key. It is given nothing else, so a key has it all."""
        return decide(
            self._policy,
            pool=self._pool,
            sender=sender,
            recipients=recipients,
            media=connector.media,
            domains=self._rights_of(connector).domains,
        )

    def refusal_of(
        self, policy: Policy | None, sender: str, recipients: Iterable[str], connector: Connector
    ) -> str:
        """Return why a connector may not bring what people say, and what to do; empty if it may."""
        if policy is not self._policy:
            self._forget(policy)
        hearing = (domain for address in recipients for domain in _domains_of(policy, address))
        return refusal_of(self._rights_of(connector), _domains_of(policy, sender), hearing, self._ours)

    def _forget(self, policy: Policy | None) -> None:
        """Begin anew, by a policy."""
        self._policy = policy
        self._ours = self._filed if policy is None else self._filed | policy.settings.domains
        self._rights.clear()
        self._remembered.clear()

    def _rights_of(self, connector: Connector) -> ConnectorRights:
        rights = self._rights.get(connector.hash)
        if rights is None:
            rights = self._rights[connector.hash] = rights_of(connector, self._policy)
        return rights


def _domains_of(policy: Policy | None, address: str) -> Sequence[str]:
    """Return the domain of an address; of a telephone number those where policy knows it, "" if nowhere."""
    domain = domain_of(address)
    if domain or policy is None:
        return [domain]
    return list(map(domain_of, policy.homes_of(address))) or [""]


def rights_of(connector: Connector, policy: Policy | None) -> ConnectorRights:
    """Return the rights of a connector: as policy has them, else as the file with its token.

    Policy's domains of connectors are no other connector's, even if the file says so.
    """
    named = policy.connector(connector.name) if policy is not None else None
    given = policy.settings.given_domains if policy is not None else frozenset()
    return named or ConnectorRights(
        name=connector.name, domains=connector.domains - given, gateway_for=connector.gateway_for
    )


def refusal_of(
    rights: ConnectorRights, speaking: Sequence[str], hearing: Iterable[str], ours: frozenset[str]
) -> str:
    """Return why a connector may not bring what people say, and what to do; empty if it may.

    ``speaking``: the sender's domains, of which one must be the connector's own; or it must be a gateway for
    it, and one of those ``hearing``, the recipients', its own. ``ours``: what any of us speaks for.
    """
    name, domain = rights.name, speaking[0]
    if not rights.domains.isdisjoint(speaking):
        return ""
    if domain in ours:
        return f"connector {name!r} doesn't speak for {domain}: send it by the one that does"
    hearing = dict.fromkeys(hearing)
    if rights.domains.isdisjoint(hearing):
        those = ", ".join([each or _NUMBERS for each in {domain: None} | hearing][:_MAX_NAMED])
        return f"connector {name!r} speaks for nobody here: not for {those}"
    if rights.is_gateway_for(domain):
        return ""
    return (
        f"connector {name!r} doesn't speak for {domain or _NUMBERS}, which isn't ours: if it verifies who"
        f" sends from there, have an administrator name {domain or ANY_DOMAIN} in its gateway_for"
        f" (PUT /v1/policy/connectors/{name})"
    )
