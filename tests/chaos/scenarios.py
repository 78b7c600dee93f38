"""What befalls a system alike, whether its parts are processes or containers."""

from typing import Any

from tests.chaos.case import Case


def wait_until_away(case: Case[Any], *, critical: bool) -> None:
    """Return when the front ends have seen it: critical ones block, others spool."""
    case.system.wait_for_state("blocking" if critical else "spooling")


def check_answers(case: Case[Any], *, critical: bool) -> None:
    """Everything was answered in time; in a critical pool nothing was spooled, in another nothing refused."""
    assert case.journal.count(0) == 0
    if critical:
        assert case.journal.count(202) == 0
        assert case.journal.count(503) > 0
    else:
        assert case.journal.count(503) == 0
        assert case.journal.count(202) > 0


def survive_a_killed_broker(case: Case[Any], *, critical: bool) -> None:
    """End the broker under load and start it again."""
    with case.load() as load:
        case.system.kill_broker()
        wait_until_away(case, critical=critical)
        load.wait_for_answer(503 if critical else 202, 10)
        case.system.start_broker()
        case.system.wait_for_state("normal", seconds=120)
        load.wait_for_answer(201, 50)
    check_answers(case, critical=critical)
    case.check()


def survive_a_frozen_broker(case: Case[Any], *, critical: bool) -> None:
    """Let the broker stand still under load, and go on."""
    with case.load() as load:
        case.system.freeze_broker()
        try:
            wait_until_away(case, critical=critical)
            load.wait_for_answer(503 if critical else 202, 10, seconds=10)
        finally:
            case.system.thaw_broker()
        load.wait_for_answer(201, 50, seconds=120)
    check_answers(case, critical=critical)
    case.check()


def survive_a_killed_part(case: Case[Any], part: str) -> None:
    """End a part under load and start it again, twice."""
    with case.load() as load:
        for _ in range(2):
            case.system.kill_and_start(part)
            load.wait_for_safe(50)
    case.check()
