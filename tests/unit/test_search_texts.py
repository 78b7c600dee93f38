"""A search that reads a text as more than text is refused: as text it would find nothing."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admin_api.archive.messages.search import Search, check_search
from contract.message import make_id
from runtime.problem import Problem

WORDS = st.text(st.characters(categories=("Ll", "Lo")), min_size=1, max_size=8)


def refusal(**asked: object) -> str:
    """Return the parameter for which a search is refused, empty if it is not."""
    try:
        check_search(Search.model_validate(asked))
    except Problem as problem:
        assert problem.status == 422
        return problem.field or ""
    return ""


@given(WORDS, WORDS)
def test_what_other_searches_read_as_more_than_text_is_refused(one: str, two: str) -> None:
    for text in (f"-{one}", f"{one} -{two}", f"{one}*", f"*{one}", f'"{one} {two}"', f"„{one}“"):
        assert refusal(text=text) == "text", text
    for word in ("AND", "OR", "NOT"):
        assert refusal(text=f"{one} {word} {two}") == "text"


@given(st.lists(WORDS, min_size=1, max_size=4))
def test_words_are_looked_for_however_they_are_joined(words: list[str]) -> None:
    for joint in (" ", "-", ", ", " - ", " and ", "\n", "/", '" '):
        assert refusal(text=joint.join(words)) == ""


@pytest.mark.parametrize("text", ["-5", "a - b", "2 * 3", "e-mail", 'he said "no" to', "**", "ORDER"])
def test_what_people_write_is_looked_for(text: str) -> None:
    assert refusal(text=text) == ""


def test_contradictions_are_refused() -> None:
    assert refusal(text="a", without_text=True) == "text"
    assert refusal(text="a", without_text=False) == ""
    im_id, later = make_id(), datetime(2100, 1, 1, tzinfo=UTC)
    assert refusal(**{"after": im_id, "from": later}) == "after"
    assert refusal(after=im_id, to=later) == ""
    assert refusal(after=im_id, to=datetime(2020, 1, 1, tzinfo=UTC)) == "after"
