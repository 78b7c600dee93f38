"""The policy of Office Communications Server 2007 R2: its settings, and its rules as one pure function."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from enum import IntFlag, StrEnum
from functools import reduce
from operator import attrgetter, or_
from typing import Final, NamedTuple, TypeVar
from uuid import UUID

import msgspec

from contract.address import domain_of
from contract.message import Scope


class GlobalSetting(StrEnum):
    """The setting of a scope."""

    NONE = "none"
    EVERYONE = "everyone"
    PER_USER = "per_user"


class Flags(IntFlag):
    """A local user's flags; they count only where the global setting is ``per_user``."""

    NONE = 0
    INTERNAL = 1
    FEDERATED = 2


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a pool of front ends."""

    name: str
    archive: bool = True
    """The pool's switch: off means nothing from this pool is archived."""
    critical: bool = False
    """An IM that must be archived and cannot be is not delivered."""
    archive_all_group: bool = False
    """Archive every group IM, before the rules below the pool's switch, as the original did."""
    unseen_media: tuple[str, ...] = ()
    """Kinds (``contract.sdp``) of content that SIP sessions may agree to send past the archive."""


class Wording(NamedTuple):
    """A text, and the language that it is in."""

    language: str
    text: str


class Disclaimer(msgspec.Struct, frozen=True, kw_only=True):
    """The notice to federated partners that a conversation is archived."""

    enabled: bool = False
    language: str = "en"
    """For partners that ``partners`` does not name."""
    wordings: Mapping[str, str] = {}
    """Language (BCP 47) to text."""
    partners: Mapping[str, str] = {}
    """A partner's domain to the language that is spoken there."""

    def wording_for(self, domain: str) -> Wording:
        """Return the notice for people of a domain. Raises KeyError if there is no such wording."""
        language = self.partners.get(domain, self.language)
        return Wording(language, self.wordings[language])


NO_DISCLAIMER: Final = Disclaimer()

ANY_DOMAIN: Final = "*"
"""In ``gateway_for``: every domain that isn't ours."""


class ConnectorRights(msgspec.Struct, frozen=True, kw_only=True):
    """The domains that a chat system speaks for."""

    name: str
    domains: frozenset[str] = frozenset()
    """Our domains that it speaks for, lower case."""
    gateway_for: frozenset[str] = frozenset()
    """Foreign domains with senders that it verifies and may bring IMs of; ``ANY_DOMAIN``: all."""

    def is_gateway_for(self, domain: str) -> bool:
        """Return whether people of a domain that isn't ours may send by it."""
        return not self.gateway_for.isdisjoint((domain, ANY_DOMAIN))


_name_of = attrgetter("name")


class PolicySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of a policy but the users: the first line of a snapshot."""

    version: int
    stamp: UUID | None = None
    """Tells this version from another of that number, from before a restore; None: of before stamps."""
    since: int
    """In a snapshot: the users that follow are those changed after this version. 0: all users."""
    internal: GlobalSetting
    federated: GlobalSetting
    domains: frozenset[str]
    """Our own SIP domains, lower case."""
    pools: tuple[Pool, ...]
    """By name. A pool that is missing has the defaults."""
    disclaimer: Disclaimer = NO_DISCLAIMER
    cdr: bool = True
    """True if there are call detail records, with content archived or not."""
    connectors: tuple[ConnectorRights, ...] = ()
    """By name. The rights of a connector that is missing stand in the file that has its token."""

    def __post_init__(self) -> None:
        """Sort pools and connectors by name: equal settings have one encoding, and so one digest."""
        for field in ("pools", "connectors"):
            in_order = tuple(sorted(getattr(self, field), key=_name_of))
            msgspec.structs.force_setattr(self, field, in_order)

    @property
    def given_domains(self) -> frozenset[str]:
        """The domains that this policy gives to connectors."""
        return frozenset(domain for rights in self.connectors for domain in rights.domains)


_Named = TypeVar("_Named", Pool, ConnectorRights)


def _find(named: Sequence[_Named], name: str) -> _Named | None:
    """Return the one of a name; None if there is none. ``named``: in the order of their names."""
    place = bisect_left(named, name, key=_name_of)
    return named[place] if place < len(named) and named[place].name == name else None


class Policy(msgspec.Struct, frozen=True):
    """A whole policy as a front end holds it. A new version is another object."""

    settings: PolicySettings
    users: Mapping[str, int]
    """Canonical address to Flags, of users with any flag set."""
    safe_side: str = ""
    """If this is no policy to go by: the rule by which everything is archived and every pool critical."""

    @property
    def cdr(self) -> bool:
        """True if there are call detail records."""
        return self.settings.cdr or bool(self.safe_side)

    def pool(self, name: str) -> Pool:
        """Return a pool's settings; a pool without settings has the defaults."""
        if self.safe_side:
            return Pool(name=name, critical=True)
        return _find(self.settings.pools, name) or Pool(name=name)

    def connector(self, name: str) -> ConnectorRights | None:
        """Return a connector's rights; None if this policy does not name it."""
        return _find(self.settings.connectors, name)

    def flags_of(self, address: str) -> int:
        """Return an address's Flags; a telephone number without a domain has those of its ``homes_of``."""
        if domain_of(address):
            return self.users.get(address, 0)
        return reduce(or_, (self.users[each] for each in self.homes_of(address)), 0)

    def homes_of(self, number: str) -> list[str]:
        """Return the flagged addresses that a telephone number without a domain has in our domains."""
        at_home = (f"sip:{number.removeprefix('tel:')}@{domain}" for domain in self.settings.domains)
        return [address for address in at_home if address in self.users]

    def is_local(self, address: str) -> bool:
        """Return True if an address is local: in our domains, or a telephone number flagged there."""
        domain = domain_of(address)
        return domain in self.settings.domains if domain else self.flags_of(address) != 0


class PolicyUser(msgspec.Struct, frozen=True, array_like=True):
    """A further line of a policy snapshot: one user's flags; 0 takes them back."""

    address: str
    flags: int


class Decision(msgspec.Struct, frozen=True, gc=False):
    """The decision on an IM, and the rule that made it."""

    archive: bool
    rule: str
    scope: Scope
    version: int
    """Version of the policy that decided; 0 where there was none."""


NO_POLICY_RULE: Final = "no-policy"
MEDIA_RULE: Final = "media-never"
RULES: Final = {
    NO_POLICY_RULE: "no policy was ever received: everything is archived, the safe side",
    MEDIA_RULE: "the connector carries audio and video, which are never archived",
    "pool-off": "the pool's switch is off",
    "pool-group": "the pool archives every group IM",
    "internal-none": "no internal IM is archived",
    "internal-everyone": "every internal IM is archived",
    "internal-user": "a participant's flag for internal IM is set",
    "internal-no-user": "no participant's flag for internal IM is set",
    "federated-none": "no federated IM is archived",
    "federated-everyone": "every federated IM is archived",
    "federated-user": "a local participant's flag for federated IM is set",
    "federated-no-user": "no local participant's flag for federated IM is set",
}
"""Every rule's name and meaning."""

UNCONFIRMED_RULE: Final = "policy-unconfirmed"
STALE_RULE: Final = "policy-stale"
SAFE_SIDE_RULES: Final = {
    UNCONFIRMED_RULE: "the admin API has yet to say which policy counts: all is archived, the safe side",
    STALE_RULE: "the admin API hasn't confirmed the policy for too long: all is archived, the safe side",
}
"""Rules of a front end that has a policy and may not go by it: ``Policy.safe_side``."""


def decide(
    policy: Policy | None,
    *,
    pool: str,
    sender: str,
    recipients: Iterable[str],
    media: bool = False,
    domains: frozenset[str] = frozenset(),
) -> Decision:
    """Return the decision on an IM.

    ``sender`` and ``recipients`` are canonical addresses; ``media``: the connector carries audio and video
    only; ``domains`` are the connector's own, used to tell the scope only while there is no policy. The
    content type counts for nothing: it is the sender's word.
    """
    participants = [sender, *recipients]
    if policy is None:
        local = [address for address in participants if domain_of(address) in domains]
    else:
        local = [address for address in participants if policy.is_local(address)]
    scope: Scope = "internal" if len(local) == len(participants) else "federated"
    if policy is None or policy.safe_side:
        rule = NO_POLICY_RULE if policy is None else policy.safe_side
        return Decision(False, MEDIA_RULE, scope, 0) if media else Decision(True, rule, scope, 0)
    version = policy.settings.version
    if media:
        return Decision(False, MEDIA_RULE, scope, version)
    switches = policy.pool(pool)
    if not switches.archive:
        return Decision(False, "pool-off", scope, version)
    if switches.archive_all_group and len(participants) > 2:
        return Decision(True, "pool-group", scope, version)

    if scope == "internal":
        setting, flag = policy.settings.internal, Flags.INTERNAL
    else:
        setting, flag = policy.settings.federated, Flags.FEDERATED
    if setting is GlobalSetting.EVERYONE:
        return Decision(True, f"{scope}-everyone", scope, version)
    if setting is GlobalSetting.NONE:
        return Decision(False, f"{scope}-none", scope, version)
    flagged = any(policy.flags_of(address) & flag for address in local)
    return Decision(flagged, f"{scope}-user" if flagged else f"{scope}-no-user", scope, version)
