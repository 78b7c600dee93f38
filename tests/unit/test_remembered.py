"""What is remembered, to be fast, is bounded in bytes, whatever people send."""

import json
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from sys import getsizeof

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.address import MAX_LENGTH, parse_address
from contract.disclaimers import Claim, Worded
from contract.domain import DomainError, parse_domain
from contract.message import make_id
from contract.policy import Decision
from contract.remembered import Remembered
from frontend import cdr as cdr_module
from frontend.im import CheckedIM
from frontend.listeners import submission
from frontend.listeners.submission import read_submission
from frontend.policy import decisions as decisions_module
from frontend.policy import disclaimers, notice_records
from frontend.policy.decisions import Decisions
from frontend.policy.disclaimers import Disclaimers, _who_is
from frontend.policy.notice_records import HandedOver, NoticeRecords
from tests.unit.agent_port import CONNECTOR, SETTINGS, Policies

BUDGET = 1 << 18


def _long(number: int) -> str:
    return f"{chr(0x20000 + number) * (MAX_LENGTH - 16)}@contoso.com"


def _read(sender: str, recipients: list[str]) -> CheckedIM:
    document = {"sender": sender, "recipients": recipients, "body": "hello"}
    return read_submission(json.dumps(document, ensure_ascii=False).encode(), SETTINGS)


def _most_held(do: Callable[[int], object], times: int) -> int:
    """Return how many bytes more are held after something was done for the numbers from 0."""
    do(0)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(times):
            do(number)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before


def _weigh(key: str, value: str) -> int:
    return getsizeof(key) + getsizeof(value)


@given(st.lists(st.tuples(st.text(max_size=300), st.integers(1, 300))))
def test_no_more_bytes_are_held_than_the_budget_and_one_entry(items: list[tuple[str, int]]) -> None:
    remembered = Remembered[str, str](2000, _weigh)
    for key, size in items:
        remembered.put(key, "x" * size)
        assert (remembered.get(key) or remembered.recall(key) or "") == "x" * size
        held = {**remembered._old, **remembered._young}
        newest = _weigh(key, "x" * size)
        assert sum(_weigh(*entry) for entry in held.items()) <= 2000 + newest


def test_what_is_asked_for_is_kept() -> None:
    remembered = Remembered[str, str](10_000, _weigh)
    remembered.put("asked for", "kept")
    remembered.put("not asked for", "forgotten")
    for number in range(200):
        remembered.put(str(number), "")
        assert (remembered.get("asked for") or remembered.recall("asked for")) == "kept"
    assert remembered.recall("not asked for") is None
    assert len(remembered) < 50


def test_long_addresses_are_not_remembered() -> None:
    assert _most_held(lambda number: parse_address(_long(number)), 300) < 100_000


def test_domains_are_bounded() -> None:
    def parse(number: int) -> None:
        with pytest.raises(DomainError):
            parse_domain("\U00020000" * 900 + str(number))

    assert _most_held(parse, 40) < 100_000


def test_people_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    people = Remembered(BUDGET, submission._weigh_people)
    monkeypatch.setattr(submission, "_remembered", people)
    assert _most_held(
        lambda number: _read(_long(number), [_long(number + each) for each in range(8)]), 50
    ) < (2 * BUDGET)
    assert len(people) > 1
    many = [f"user{number}@contoso.com" for number in range(20)]
    _read(many[0], many)
    assert people.recall((many[0], tuple(many))) is None  # a long list hardly comes again


def test_decisions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions_module, "_REMEMBERED_BYTES", BUDGET)
    monkeypatch.setattr(submission, "_remembered", Remembered(1, submission._weigh_people))
    decisions, policy = Decisions("pool1"), Policies(critical=True).current

    def decide(number: int) -> None:
        im = _read(_long(number), [_long(number + each) for each in range(8)])
        assert decisions.decide(policy, im, CONNECTOR).archive

    assert _most_held(decide, 50) < 2 * BUDGET


def test_call_detail_records_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cdr_module, "_MAX_GATHERED_BYTES", BUDGET)
    policies = Policies(critical=True)
    cdr = cdr_module.CDR(SETTINGS, policies)  # type: ignore[arg-type] # stands in
    decision = Decision(archive=True, rule="internal-everyone", scope="internal", version=7)

    def note(number: int) -> None:
        cdr.note_im(_read(_long(number), [_long(number + each) for each in range(20)]), decision)

    assert _most_held(note, 25) < 2 * BUDGET


def _handed_over(number: int) -> HandedOver:
    claim = Claim(
        front_end="1",
        connector="c",
        conversation=_long(number),
        im=make_id(),
        at=datetime.now(UTC),
        version=7,
        notices=[Worded(_long(number + each), "en", "Is archived.") for each in range(20)],
    )
    return HandedOver(claim, f"{number}")


def test_of_partners_with_long_names_hardly_more_is_remembered_than_of_others() -> None:
    told = Disclaimers(SETTINGS, Policies(critical=True))  # type: ignore[arg-type] # stands in
    handed_over = _handed_over(0)

    def tell(number: int) -> None:
        assert told._is_due(_who_is(_long(number), _long(number + 1)), handed_over)
        told._note_told(_long(number), [_long(number + 2)])

    assert _most_held(tell, 100) < 200_000


def test_what_is_handed_over_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disclaimers, "_MAX_GIVEN_BYTES", BUDGET)
    told = Disclaimers(SETTINGS, Policies(critical=True))  # type: ignore[arg-type] # stands in

    def give(number: int) -> None:
        handed_over = _handed_over(number)
        assert told._give(handed_over, [each.partner for each in handed_over.claim.notices])

    assert _most_held(give, 25) < 2 * BUDGET
    for im in list(told._given):
        told._take_given(im, "c")
    assert told._given_bytes == 0


def test_notices_that_wait_to_be_recorded_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notice_records, "_MAX_WAITING_BYTES", BUDGET)
    records = NoticeRecords(SETTINGS)
    assert _most_held(lambda number: records.note(_handed_over(number)), 25) < 2 * BUDGET
    for key in list(records._waiting):
        records._forget(key)
    assert records._waiting_bytes == 0
