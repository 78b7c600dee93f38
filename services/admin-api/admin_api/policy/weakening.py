"""Weakenings: changes after which less is archived, kept, told or refused than before."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations_with_replacement
from typing import Final

from contract.address import domain_of
from contract.policy import ConnectorRights, Decision, Policy, Pool, decide

_MOST: Final = 3
"""People that an IM needs to show a weakening: one archived by a flag, one foreign before, one foreign after;
and three make a group.
"""
_ELSEWHERE: Final = "example.invalid"
_NOBODY: Final = "no-such-pool-or-person"
_MOST_NAMED: Final = 5


def weakenings_of(before: Policy, after: Policy) -> list[str]:
    """Return a sentence for each way in which a change weakens policy; none if it does not.

    Of users that all decisions treat alike, the policies need have only one. The rights in front ends' files
    are not known here: they may be anything.
    """
    return [
        *_lost(before, after),
        *_unguarded(before, after),
        *_unkept(before, after),
        *_unrefused(before, after),
    ]


def _lost(before: Policy, after: Policy) -> Iterator[str]:
    """Yield a sentence for each way in which some IM is no longer archived, or no longer told of."""
    people = list(_sorts_of(before, after).values())
    groups = [
        group for count in range(2, _MOST + 1) for group in combinations_with_replacement(people, count)
    ]
    found: dict[str, str] = {}
    for pool in _pools_of(before, after):
        where = "pools without settings" if pool == _NOBODY else f"pool {pool}"
        for group in groups:
            sender, *recipients = group
            was = decide(before, pool=pool, sender=sender, recipients=recipients)
            now = decide(after, pool=pool, sender=sender, recipients=recipients)
            if was.archive and not now.archive:
                found.setdefault("archived", f"in {where} {was.rule} archived what {now.rule} does not")
            elif after.settings.disclaimer.enabled and (words := _told(before, was, group)):
                told = _told(after, now, group)
                if words.keys() - told.keys():
                    found.setdefault("told", f"in {where} partners are not told that were")
                elif words != told:
                    found.setdefault("words", "partners are told something else")
    yield from found.values()


def _told(policy: Policy, decision: Decision, people: Iterable[str]) -> Mapping[str, tuple[str, str]]:
    """Return the language and text of the notice that each partner gets with an IM."""
    if not (policy.settings.disclaimer.enabled and decision.archive and decision.scope == "federated"):
        return {}
    partners = {each for each in people if not policy.is_local(each)}
    if partners.issuperset(people):  # none of ours takes part
        return {}
    return {each: policy.settings.disclaimer.wording_for(domain_of(each)) for each in partners}


def _pools_of(before: Policy, after: Policy) -> list[str]:
    """Return a pool of each sort that there is."""
    sorts: dict[tuple[bool, ...], str] = {}
    for name in sorted({*_names(before.settings.pools), *_names(after.settings.pools), _NOBODY}):
        was, now = before.pool(name), after.pool(name)
        sorts[was.archive, was.archive_all_group, now.archive, now.archive_all_group] = name
    return list(sorts.values())


def _sorts_of(before: Policy, after: Policy) -> Mapping[tuple[bool | int, ...], str]:
    """Return a person of each sort: persons of one sort are alike to all decisions, before and after."""
    partners = {*before.settings.disclaimer.partners, *after.settings.disclaimer.partners}
    domains = {*before.settings.domains, *after.settings.domains, *partners, _ELSEWHERE}
    people = {*before.users, *after.users, *(f"sip:{_NOBODY}@{domain}" for domain in domains)}
    people |= {f"tel:{number}" for address in people if (number := number_of(address))}
    return {
        (
            before.is_local(each),
            before.flags_of(each),
            after.is_local(each),
            after.flags_of(each),
            _is_reworded(before, after, domain_of(each)),
        ): each
        for each in sorted(people)
    }


def _is_reworded(before: Policy, after: Policy, domain: str) -> bool:
    if not (before.settings.disclaimer.enabled and after.settings.disclaimer.enabled):
        return False
    return before.settings.disclaimer.wording_for(domain) != after.settings.disclaimer.wording_for(domain)


def number_of(address: str) -> str:
    """Return the telephone number that an address has at its domain, "" if it is none."""
    name = address.removeprefix("sip:").removesuffix(f"@{domain_of(address)}")
    return name if name.startswith("+") else ""


def _unguarded(before: Policy, after: Policy) -> Iterator[str]:
    for name in sorted({*_names(before.settings.pools), *_names(after.settings.pools)}):
        was, now = before.pool(name), after.pool(name)
        if was.critical and not now.critical:
            yield f"pool {name} delivers what could not be archived"
        if kinds := sorted(set(now.unseen_media).difference(was.unseen_media)):
            yield f"pool {name} lets pass unseen: {', '.join(kinds)}"


def _unkept(before: Policy, after: Policy) -> Iterator[str]:
    if before.settings.disclaimer.enabled and not after.settings.disclaimer.enabled:
        yield "partners are no longer told that they are archived"
    if before.settings.cdr and not after.settings.cdr:
        yield "there are no call detail records any more"


def _unrefused(before: Policy, after: Policy) -> Iterator[str]:
    """Yield a sentence for each way in which a connector may bring IMs that were refused (decision 0017)."""
    for name in sorted({*_names(before.settings.connectors), *_names(after.settings.connectors)}):
        was = before.connector(name) or ConnectorRights(name=name)
        now = after.connector(name)
        if now is None:
            yield f"connector {name} may what front ends' files say"
            continue
        if domains := now.domains - was.domains:
            yield f"connector {name} may speak for {_some(domains)}"
        foreign = now.gateway_for - after.settings.domains
        if now.domains and (gained := {each for each in foreign if not was.is_gateway_for(each)}):
            yield f"connector {name} is a gateway for {_some(gained)}"
    if domains := before.settings.domains - after.settings.domains:
        yield f"{_some(domains)}: no longer ours, so gateways may bring what people there say"
    if domains := before.settings.given_domains - after.settings.given_domains:
        yield f"{_some(domains)}: given to no connector, so those may speak for it of which files say so"


def _names(parts: Iterable[Pool | ConnectorRights]) -> Iterator[str]:
    return (each.name for each in parts)


def _some(names: Iterable[str]) -> str:
    first = sorted(names)
    return ", ".join([*first[:_MOST_NAMED], *(["…"] if len(first) > _MOST_NAMED else [])])
