"""A change is weighed by some of the users: by all of them it would weigh the same."""

import contextlib
from collections.abc import Iterator
from io import BytesIO
from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import true
from sqlmodel import SQLModel

from admin_api.access.principals import Actor
from admin_api.database import Database
from admin_api.http.preconditions import Preconditions
from admin_api.policy.bulk_queries import store
from admin_api.policy.changes import Change
from admin_api.policy.weakening import weakenings_of
from admin_api.policy.weighing import weigh
from admin_api.policy.whole_policy import load_policy
from admin_api.tables.policy import DomainRow, GlobalRow, PolicyRow, UserRow
from tests.integration.admin.conftest import AdminApi

_DOMAINS: Final = ("a.example", "b.example")
_ADDRESSES: Final = [f"sip:{name}@{domain}" for name in ("ann", "bob", "+301", "+302") for domain in _DOMAINS]


def _user(address: str, archive_internal: bool, archive_federated: bool) -> UserRow:
    return UserRow(address=address, archive_internal=archive_internal, archive_federated=archive_federated)


def _setting(scope: str, archive: str) -> GlobalRow:
    return GlobalRow(scope=scope, archive=archive)


def _domain(domain: str) -> DomainRow:
    return DomainRow(domain=domain)


users = st.builds(_user, st.sampled_from(_ADDRESSES), st.booleans(), st.booleans())
domains = st.builds(_domain, st.sampled_from(_DOMAINS))
archived = st.sampled_from(["none", "everyone", "per_user"])
scopes = st.tuples(
    st.builds(_setting, st.just("internal"), archived), st.builds(_setting, st.just("federated"), archived)
)


class _UndoError(Exception):
    """Rolls a transaction back."""


def _copy(row: PolicyRow) -> SQLModel:
    return type(row)(**row.model_dump())


@pytest.fixture(scope="module")
def service(idle_api: AdminApi) -> Iterator[Database]:
    """The service's sessions."""
    database = Database(idle_api.database.url("lcs_admin"))
    yield database
    database.close()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(users, max_size=4),
    st.lists(domains, max_size=2),
    scopes,
    st.one_of(users, users, domains, scopes.map(lambda both: both[0])),
    st.booleans(),
)
@example(  # who is flagged for federated IMs is archived with a number only while that is foreign
    [_user("sip:bob@a.example", False, True)],
    [_domain("a.example")],
    (_setting("internal", "per_user"), _setting("federated", "per_user")),
    _user("sip:+301@a.example", False, True),
    False,
)
def test_a_change_weighs_the_same_as_by_all_users(
    service: Database,
    flagged: list[UserRow],
    ours: list[DomainRow],
    scopes: tuple[GlobalRow, GlobalRow],
    change: PolicyRow,
    deleted: bool,
) -> None:
    with contextlib.suppress(_UndoError), service.transaction() as session:
        for row in (*flagged, *ours, *scopes):
            session.merge(_copy(row))
        session.flush()
        before = load_policy(session, true())
        weighing = weigh(session, type(change), change.key)
        found = session.get(type(change), change.key)
        if not deleted or isinstance(change, GlobalRow):
            session.merge(_copy(change))
        elif found is not None:
            found.delete(session, 0)
        session.flush()
        by_all = weakenings_of(before, load_policy(session, true()))
        assert bool(weighing.weakenings()) == bool(by_all), by_all
        raise _UndoError


@settings(max_examples=30, deadline=None)
@given(st.lists(users, max_size=4), st.lists(domains, max_size=2), scopes, st.lists(users, max_size=4))
@example(  # a number at home elsewhere stays ours, and another becomes ours by the same change
    [_user("sip:+301@b.example", True, False)],
    [_domain("a.example"), _domain("b.example")],
    (_setting("internal", "none"), _setting("federated", "everyone")),
    [_user("sip:+301@a.example", True, False), _user("sip:+302@a.example", True, False)],
)
def test_a_bulk_change_weighs_the_same_as_by_all_users(
    service: Database,
    flagged: list[UserRow],
    ours: list[DomainRow],
    scopes: tuple[GlobalRow, GlobalRow],
    wanted: list[UserRow],
) -> None:
    lines = {
        each.address: f"1\t{each.address}\t{each.archive_internal}\t{each.archive_federated}\n"
        for each in wanted
    }
    with contextlib.suppress(_UndoError), service.transaction() as session:
        change = Change(session, Actor("ada", "administrator"), Preconditions())
        for row in (*flagged, *ours, *scopes):
            session.merge(_copy(row))
        session.flush()
        before = load_policy(session, true())
        _, weakenings = store(BytesIO("".join(lines.values()).encode()), change)
        by_all = weakenings_of(before, load_policy(session, true()))
        assert bool(weakenings) == bool(by_all), by_all
        raise _UndoError
