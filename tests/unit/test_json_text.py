"""JSON that readers read differently is refused, whatever stands in it."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.config import FrontEndSettings
from frontend.listeners.submission import read_submission
from runtime.json_text import RepeatedNameError, check_names
from runtime.problem import Problem

_SETTINGS = FrontEndSettings(amqp_url="amqp://nowhere", connectors_file=Path("none"))
_TEXTS = st.text(st.sampled_from('ab"\\\n,:{}u0022é'), max_size=12)
_OTHERS = {
    "conversation": _TEXTS.map(lambda text: text or "c"),
    "content_type": st.sampled_from(["text/plain", "text/html", "application/json"]),
    "encoding": st.just("text"),
    "id": st.none(),
}


@st.composite
def documents(draw: st.DrawFn) -> tuple[bytes, bool]:
    """An IM as JSON, its texts escaped in one of many ways, and whether a name stands twice."""
    members: list[tuple[str, Any]] = [
        ("sender", "a@contoso.com"),
        (
            "recipients",
            draw(st.lists(st.sampled_from(["b@contoso.com", "c@contoso.com"]), min_size=1, max_size=3)),
        ),
        ("body", draw(_TEXTS)),
    ]
    members += [(name, draw(_OTHERS[name])) for name in draw(st.sets(st.sampled_from(sorted(_OTHERS))))]
    names = [name for name, _ in members]
    again = draw(st.lists(st.sampled_from(members), max_size=2))
    again = [(name, draw(_TEXTS) if name == "body" else value) for name, value in again]
    parts = [
        f"{_quote(draw, name)}: {_value(draw, value)}"
        for name, value in draw(st.permutations(members + again))
    ]
    assert len(set(names)) == len(names)
    return ("{" + draw(st.sampled_from([",", ", ", "\n,"])).join(parts) + "}").encode(), bool(again)


def _quote(draw: st.DrawFn, text: str) -> str:
    escaped = (
        f"\\u{ord(character):04x}"
        if draw(st.booleans()) and draw(st.booleans())
        else json.dumps(character)[1:-1]
        for character in text
    )
    return '"' + "".join(escaped) + '"'


def _value(draw: st.DrawFn, value: Any) -> str:
    return _quote(draw, value) if isinstance(value, str) else json.dumps(value)


@given(documents())
def test_an_im_with_a_name_twice_is_refused_and_no_other(document: tuple[bytes, bool]) -> None:
    raw, repeated = document
    if repeated:
        with pytest.raises(Problem, match="stands twice") as refused:
            read_submission(raw, _SETTINGS)
        assert refused.value.status == 400
    else:
        assert read_submission(raw, _SETTINGS).sender == "sip:a@contoso.com"


@pytest.mark.parametrize("raw", [b'{"a": {"b": 1, "b": 1}}', b'[{"a": 1}, {"a": 1, "\\u0061": 2}]'])
def test_a_name_is_looked_for_in_each_object(raw: bytes) -> None:
    with pytest.raises(RepeatedNameError):
        check_names(raw)
