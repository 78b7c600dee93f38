"""What befalls the front ends, and what chat systems make of it."""

import signal
from uuid import UUID

import httpx

from contract.message import make_id
from tests.chaos.processes import ProcessCase
from tests.chaos.scenarios import survive_a_killed_part


def test_a_front_end_killed_under_load_loses_nothing_and_leaves_no_hole(
    case: ProcessCase, critical: bool
) -> None:
    survive_a_killed_part(case, "front end")


def test_a_front_end_told_to_end_answers_everything_first(case: ProcessCase) -> None:
    with case.load() as load:
        assert case.system.front_end().stop(signal.SIGTERM) == 0
        case.system.restart_front_end()
        load.wait_for_safe(50)
    case.check()


def test_a_front_end_that_stands_still_goes_on_where_it_was(case: ProcessCase, critical: bool) -> None:
    with case.load() as load:
        case.system.front_end().send(signal.SIGSTOP)
        try:
            load.wait_for_safe(20)  # at the other one
        finally:
            case.system.front_end().send(signal.SIGCONT)
        load.wait_for_safe(50)
    case.check()


def test_what_a_front_end_has_on_disk_survives_its_kill(case: ProcessCase) -> None:
    case.system.make_critical(False)
    with case.load() as load:
        case.system.node.kill()
        case.system.wait_for_state("spooling")
        load.wait_for_answer(202, 50)
        for number in (1, 2):
            case.system.front_end(number).kill()
        for number in (1, 2):
            case.system.restart_front_end(number)
        load.wait_for_answer(202, 20)
        case.system.node.start()
        case.system.wait_for_state("normal")
    assert case.journal.count(503) == 0
    case.check()


def test_half_of_all_ims_sent_twice_to_two_front_ends_are_archived_once(case: ProcessCase) -> None:
    with case.load(duplicates=True) as load:
        load.wait_for_safe(200)
    case.check()
    assert case.journal.count(201) > len(case.journal.safe)


def test_clocks_that_jump_are_refused_beyond_bounds_and_stored_within(case: ProcessCase) -> None:
    minute = 60_000
    now = make_id().int >> 80
    headers = {"Authorization": f"Bearer {case.system.tokens['connector']}"}
    answers: dict[int, int] = {}
    with httpx.Client(base_url=case.system.urls()[0], headers=headers, timeout=30, trust_env=False) as client:
        for offset in (-30 * 24 * 60, -6 * 24 * 60, -60, 4, 60):  # minutes
            im_id: UUID = make_id(now + offset * minute)
            document = {
                "id": str(im_id), "sender": "a@contoso.com", "recipients": ["b@contoso.com"], "body": "when?",
            }  # fmt: skip
            case.journal.note_sent([im_id])
            answers[offset] = client.post("/v1/messages", json=document).status_code
            case.journal.note_answer(im_id, answers[offset])
    assert list(answers.values()) == [422, 201, 201, 201, 422]
    case.check()
