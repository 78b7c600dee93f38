"""Queries are taken at their word: a parameter that would be ignored is refused, as the answer would mislead.

So are parameters that stand twice where one counts, or that readers decode differently.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from runtime.problem import Problem

_SINGLE: Final = frozenset(
    (b"authorization", b"content-type", b"content-encoding", b"if-match", b"if-none-match", b"traceparent")
)
_OURS: Final = b"lcs-"
_TIME: Final = TypeAdapter(AwareDatetime)
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""No IM has an id of a time before (RFC 9562, 5.7)."""
_AHEAD: Final = timedelta(days=1)
"""By which a clock, or a zone, may be ahead of ours."""


class Parameter(NamedTuple):
    """A parameter of a query that a route knows."""

    repeatable: bool
    takes_blanks: bool


def check_single(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raise Problem (422) if a header stands twice of which one counts. ``headers``: of an ASGI scope."""
    seen = set()
    for name, _ in headers:
        if name in _SINGLE or name.startswith(_OURS):
            if name in seen:
                header = name.decode("latin-1").title()
                raise Problem(422, f"{header} stands twice: send it once.", field=header)
            seen.add(name)


def check_path(raw_path: bytes) -> None:
    """Raise Problem (422) for a path that is not UTF-8: all that can't be read would be one and the same.

    ``raw_path``: with its escapes.
    """
    try:
        unquote_to_bytes(raw_path).decode()
    except UnicodeDecodeError:
        raise Problem(
            422, "A path has escapes of UTF-8 only: \u00e9 is %C3%A9 there.", field="path"
        ) from None


def check_query(query: bytes, parameters: Mapping[str, Parameter]) -> None:
    """Raise Problem (422) for a query with a parameter that a route does not know.

    Also for a scalar parameter that stands twice, what is not escaped as every reader reads it, and times
    that end before they begin (``from`` and ``to``, ``…_from`` and ``…_to``) or are none that anything is of.
    """
    if not query:
        return
    asked: dict[str, str] = {}
    for pair in query.split(b"&"):
        raw_name, _, raw_value = pair.partition(b"=")
        if not pair:
            continue
        name = _decode(raw_name, "query")
        parameter = parameters.get(name)
        if parameter is None:
            known = f"it knows {', '.join(sorted(parameters))}" if parameters else "it knows none"
            raise Problem(422, f"There is no parameter {name[:80]!r} here: {known}.", field=name[:80])
        if name in asked and not parameter.repeatable:
            raise Problem(422, f"{name} stands twice: ask with one at a time.", field=name)
        asked[name] = _decode(raw_value, name)
        if b"+" in raw_value and not (parameter.takes_blanks and _are_blanks(raw_value)):
            raise Problem(
                422, f"A plus may mean a blank in {name}: write a plus as %2B, a blank as %20.", field=name
            )
    _check_times(asked)


def _decode(raw: bytes, field: str) -> str:
    try:
        raw.decode("ascii")
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise Problem(
            422, "A query is in ASCII, other characters as escapes of their UTF-8: é as %C3%A9.", field=field
        ) from None


def _are_blanks(raw: bytes) -> bool:
    """Return whether all pluses in a value can only be blanks, as forms write them."""
    return b"%20" not in raw and b"++" not in raw and not raw.startswith(b"+") and not raw.endswith(b"+")


def _check_times(asked: Mapping[str, str]) -> None:
    try:
        times = {
            name: _TIME.validate_python(text)
            for name, text in asked.items()
            if name.rpartition("_")[2] in ("from", "to")
        }
    except ValidationError:
        return  # what reads them says what is wrong
    for name, time in times.items():
        until = f"{name.removesuffix('from')}to"
        if not name.endswith("from"):
            if time <= _BEGINNING:
                raise Problem(422, f"{name} is too early: nothing is as old as that.", field=name)
        elif until in times and time >= times[until]:
            raise Problem(422, f"{until} must be later than {name}: no time lies between.", field=until)
        elif time > datetime.now(UTC) + _AHEAD:
            raise Problem(422, f"{name} is in the future: nothing was said or done there yet.", field=name)
