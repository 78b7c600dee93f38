"""The oracle: what was answered 201 or 202 is archived or parked, once; all of that was sent; no holes."""

import json
from uuid import UUID

import psycopg

from deploy.local.process import wait_for
from tests.chaos.journal import Journal
from tests.chaos.system import System

SECONDS = 60.0
"""How long the system may take to come to rest."""


def check(system: System, journal: Journal, *, others: set[UUID], seconds: float = SECONDS) -> None:
    """Wait until nothing moves any more; then raise AssertionError if the promise was broken.

    ``others``: ids that were sent apart from the journal.
    """
    trouble = ""
    try:
        wait_for(lambda: _is_at_rest(system, journal), "the system to come to rest", seconds=seconds)
    except TimeoutError as error:
        trouble = f"{error}: {system.waiting()} wait, {system.states()}, ended: {system.ended() or 'nothing'}"
    archived = system.archived()
    once = set(archived)
    parked = _parked(system)
    assert len(once) == len(archived), "an id is archived twice"
    lost = sorted(journal.safe - once - parked)
    assert not lost, (
        f"{len(lost)} IMs answered 201 or 202 are neither archived nor parked: {lost[:3]}; {trouble}"
    )
    invented = (once | parked) - journal.sent - others
    assert not invented, f"{len(invented)} IMs are archived that nobody sent: {sorted(invented)[:3]}"
    holes = _holes(system, journal)
    assert not holes, f"agents with holes: {holes}"
    assert not trouble, trouble


def _is_at_rest(system: System, journal: Journal) -> bool:
    if any(each["spooled"] or each["state"] != "normal" for each in system.states()) or system.waiting():
        return False
    try:
        return system.missing(journal.safe) <= _parked(system) and not _holes(system, journal)
    except psycopg.OperationalError:
        return False  # the database recovers from what was done to it


def _holes(system: System, journal: Journal) -> list[tuple[UUID, str]]:
    found = system.rows("SELECT agent, missing_numbers::text FROM archive.completeness WHERE missing > 0")
    return [(agent, numbers) for agent, numbers in found if agent not in journal.forged]


def _parked(system: System) -> set[UUID]:
    ids: set[UUID] = set()
    for (body,) in system.rows("SELECT body FROM archive.parked WHERE kind = 'im' AND state <> 'replayed'"):
        for line in bytes(body).splitlines():
            try:
                ids.add(UUID(json.loads(line)["id"]))
            except (ValueError, KeyError, TypeError):
                continue  # poison of a test: it has no id
    return ids
