"""Changes of policy that weaken it: something that was archived, kept, told or refused no longer is."""

from collections.abc import Iterator, Mapping
from itertools import combinations_with_replacement
from typing import Final

from contract.address import domain_of
from contract.policy import Policy, decide

_MOST: Final = 3
"""People whom an IM needs that shows it: one whose flag archived it, one foreign before, one foreign after;
and three are a group."""
_ELSEWHERE: Final = "example.invalid"
_NOBODY: Final = "no-such-pool-or-person"


def weakenings_of(before: Policy, after: Policy) -> list[str]:
    """Return what a change weakens, a sentence each; nothing if it weakens nothing.

    Of users that differ in nothing that a decision looks at the policies need have only one.
    """
    return [*_unarchived(before, after), *_unguarded(before, after), *_untold(before, after)]


def _unarchived(before: Policy, after: Policy) -> Iterator[str]:
    """Yield a sentence if there is an IM that was archived and would not be now."""
    people = list(_sorts_of(before, after).values())
    for pool in _pools_of(before, after):
        for count in range(2, _MOST + 1):
            for sender, *recipients in combinations_with_replacement(people, count):
                was = decide(before, pool=pool, sender=sender, recipients=recipients)
                now = decide(after, pool=pool, sender=sender, recipients=recipients)
                if was.archive and not now.archive:
                    where = "pools without settings" if pool == _NOBODY else f"pool {pool}"
                    yield f"in {where} {was.rule} archived what {now.rule} does not"
                    return


def _pools_of(before: Policy, after: Policy) -> list[str]:
    """Return a pool of each sort that there is."""
    sorts: dict[tuple[bool, ...], str] = {}
    for name in sorted({*before.pools, *after.pools, _NOBODY}):
        was, now = before.pool(name), after.pool(name)
        sorts[was.archive, was.archive_all_group, now.archive, now.archive_all_group] = name
    return list(sorts.values())


def _sorts_of(before: Policy, after: Policy) -> Mapping[tuple[bool, int, bool, int], str]:
    """Return a person of each sort that there is: all that a decision looks at, before and after."""
    domains = {*before.domains, *after.domains, _ELSEWHERE}
    people = {*before.users, *after.users, *(f"sip:{_NOBODY}@{domain}" for domain in domains)}
    people |= {f"tel:{number}" for address in people if (number := number_of(address))}
    return {
        (before.is_local(each), before.flags_of(each), after.is_local(each), after.flags_of(each)): each
        for each in sorted(people)
    }


def number_of(address: str) -> str:
    """Return the telephone number that an address has at its domain, "" if it is none."""
    name = address.removeprefix("sip:").removesuffix(f"@{domain_of(address)}")
    return name if name.startswith("+") else ""


def _unguarded(before: Policy, after: Policy) -> Iterator[str]:
    for name in sorted({*before.pools, *after.pools}):
        was, now = before.pool(name), after.pool(name)
        if was.critical and not now.critical:
            yield f"pool {name} delivers what could not be archived"
        if kinds := sorted(set(now.unseen_media).difference(was.unseen_media)):
            yield f"pool {name} lets pass unseen: {', '.join(kinds)}"


def _untold(before: Policy, after: Policy) -> Iterator[str]:
    if before.disclaimer.enabled and not after.disclaimer.enabled:
        yield "partners are no longer told that they are archived"
    if before.cdr and not after.cdr:
        yield "there are no call detail records any more"
