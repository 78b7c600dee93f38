"""Faults in an order that nobody chose: from a seed that is printed, for a bounded time."""

import os
import random
import time
from uuid import UUID

from tests.chaos.faults import FAULTS, Situation
from tests.chaos.processes import DISK_MEGABYTES, ProcessCase

SEED = int(os.environ.get("LCS_CHAOS_SEED") or random.SystemRandom().randrange(1 << 32))
SECONDS = float(os.environ.get("LCS_CHAOS_SECONDS", "25"))
ONLY = os.environ.get("LCS_CHAOS_FAULTS", "")
"""Names of faults, with commas between them: no others."""
_MEGABYTES = 4
"""Of the database's disk for each second: a restore has all that is archived there twice."""


def test_faults_at_random_break_no_promise(case: ProcessCase) -> None:
    print(f"LCS_CHAOS_SEED={SEED} LCS_CHAOS_SECONDS={SECONDS:g}")  # noqa: T201 - shown when it fails
    chance = random.Random(SEED)
    case.system.enlarge_disk(DISK_MEGABYTES + int(_MEGABYTES * SECONDS))
    end = time.monotonic() + SECONDS
    with case.load() as load:
        while time.monotonic() < end:
            for name in _shuffled(chance):  # each as often as the others, however short the run
                case.system.make_critical(chance.random() < 0.5)
                print(f"{name}, at {time.monotonic() - end + SECONDS:.0f} s")  # noqa: T201 - likewise
                FAULTS[name](Situation(case, load, chance))
                load.wait_for_safe(chance.randrange(60))
                if time.monotonic() >= end:
                    break
        case.system.wait_for_state("normal")
    case.check()
    _check_people(case)


def _shuffled(chance: random.Random) -> list[str]:
    names = sorted(ONLY.split(",") if ONLY else FAULTS)
    chance.shuffle(names)
    return names


def _check_people(case: ProcessCase) -> None:
    """No IM is another's, or another pool's."""
    found = case.system.rows("SELECT id, sender, pool, recipients FROM archive.archived_messages")
    others = [
        (im, *of)
        for im, *of, recipients in found
        if im in case.journal.sent
        and (tuple(of) != _of(im, case) or recipients != ["sip:administrator@contoso.com"])
    ]
    assert not others, f"{len(others)} IMs are archived as others': {others[:3]}"


def _of(im: UUID, case: ProcessCase) -> tuple[str, str]:
    """Return an IM's sender and pool."""
    return case.journal.apart.get(im, (f"sip:user{im.int % 50}@contoso.com", "pool1"))
