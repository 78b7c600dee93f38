"""Following the archive: each IM once, in the order of commits, however late one comes."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import archiving.migrations
from archiving.archive import Archive
from contract.message import make_id, time_of
from tests.conftest import ArchiveDatabase
from tests.integration.admin.conftest import AdminApi, make_im, make_ims, running_api
from tests.integration.backups import dump, execute_file

NOW = 1_790_000_000_000


def follow(api: AdminApi, after: str | None = None, **parameters: Any) -> tuple[list[str], str, bool]:
    """Return ids, the next cursor, and whether there is more."""
    if after is not None:
        parameters["after"] = after
    answer = api.compliance.get("/v1/messages/changes", params=parameters).raise_for_status().json()
    return [each["id"] for each in answer["messages"]], answer["next"], answer["more"]


def follow_all(api: AdminApi, after: str | None = None, **parameters: Any) -> tuple[list[str], str]:
    """Return the ids of all pages, and the cursor at their end."""
    found: list[str] = []
    more = True
    while more:
        ids, after, more = follow(api, after, **parameters)
        found += ids
    assert after is not None
    return found, after


class Committer:
    """A session that inserts and commits when it is told to."""

    def __init__(self, database: ArchiveDatabase) -> None:
        self._connection = psycopg.connect(database.url("postgres"))
        self._under_way: list[str] = []

    def insert(self, at_ms: int) -> None:
        im_id = make_id(at_ms)
        self._under_way.append(str(im_id))
        self._connection.execute(
            "INSERT INTO archive.messages (id, sent_at, conversation_id, sender_id, recipient_ids, federated,"
            " content_type_id, body, agent_id, seq, policy_version, rule_id)"
            " VALUES (%s, %s, 1, 1, '{1}', false, 1, 'hello', 1, 1, 1, 1)",
            [im_id, time_of(im_id)],
        )

    def end(self, *, commit: bool) -> list[str]:
        """End the transaction; return the ids that were committed."""
        if commit:
            self._connection.commit()
        else:
            self._connection.rollback()
        ids, self._under_way = self._under_way, []
        return ids if commit else []

    def close(self) -> None:
        self._connection.close()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), st.integers(0, 3), st.integers(-40 * 86_400_000, 1000)),
        st.tuples(st.just("end"), st.integers(0, 3), st.sampled_from([True, True, True, False])),
        st.tuples(st.just("poll"), st.integers(1, 3), st.none()),
    ),
    max_size=30,
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(steps=STEPS)
def test_who_follows_gets_each_im_once_in_any_interleaving(
    api: AdminApi, steps: list[tuple[str, int, Any]]
) -> None:
    with contextlib.ExitStack() as opened:
        committers = [Committer(api.database) for _ in range(4)]
        for each in committers:
            opened.callback(each.close)
        _, cursor = follow_all(api)
        committed: list[str] = []
        seen: list[str] = []
        for step, number, value in steps:
            if step == "insert":
                committers[number].insert(NOW + value)
            elif step == "end":
                committed += committers[number].end(commit=value)
            else:
                ids, cursor, _ = follow(api, cursor, limit=number)
                seen += ids
                assert set(seen) <= set(committed)
        for each in committers:
            committed += each.end(commit=True)
        seen += follow_all(api, cursor, limit=3)[0]
    assert len(seen) == len(set(seen))
    assert set(seen) == set(committed)


def test_ims_come_whole_and_reads_are_audited(api: AdminApi) -> None:
    first = make_ims(3, start_ms=NOW)
    api.store(first)
    ids, cursor, more = follow(api, limit=2)
    assert (ids, more) == ([str(im.id) for im in first[:2]], True)
    late = make_im(at_ms=NOW - 86_400_000)
    api.store([late])
    assert follow_all(api, cursor, limit=1)[0] == [str(first[2].id), str(late.id)]
    answer = api.compliance.get("/v1/messages/changes", params={"after": cursor}).json()
    whole = [api.compliance.get(f"/v1/messages/{im.id}").json() for im in (first[2], late)]
    assert answer["messages"] == whole
    record = api.audit(action="archive.follow")[0]
    assert record["actor"] == "the compliance"
    assert record["detail"] == {
        **{"after": cursor, "count": 2, "first": str(first[2].id), "last": str(late.id)},
    }
    assert api.operator.get("/v1/messages/changes").status_code == 403


@pytest.mark.parametrize("after", ["x", "--", "0-0-0", str(UUID(int=0))])
def test_what_is_no_cursor_is_refused(idle_api: AdminApi, after: str) -> None:
    answer = idle_api.compliance.get("/v1/messages/changes", params={"after": after})
    assert (answer.status_code, answer.json()["field"]) == (422, "after")


def test_a_cursor_of_before_a_restore_is_refused_and_all_is_there_for_who_begins_anew(
    api: AdminApi,
) -> None:
    ims = make_ims(3, start_ms=NOW)
    api.store(ims)
    found, cursor = follow_all(api)
    # As in another cluster, whose transactions have lower numbers.
    api.execute("UPDATE archive.messages SET xact = xact + 1000000000")
    api.execute("UPDATE archive.incarnation SET since = now()")
    answer = api.compliance.get("/v1/messages/changes", params={"after": cursor})
    assert answer.status_code == 410
    assert "begin anew" in answer.json()["detail"]
    assert follow_all(api)[0] == found
    later = make_im(at_ms=NOW - 1000)
    api.store([later])
    assert follow_all(api, limit=1)[0] == [*found, str(later.id)]


def test_who_follows_an_archive_that_is_restored_begins_anew(api: AdminApi, tmp_path: Path) -> None:
    kept, lost, later = make_ims(3, start_ms=NOW)
    api.store([kept])
    dump(api.database, tmp_path / "dump.sql")
    api.store([lost])
    found, cursor = follow_all(api)
    assert found == [str(kept.id), str(lost.id)]
    execute_file(api.database, tmp_path / "dump.sql", "DROP SCHEMA archive, cdr CASCADE")
    refused = api.compliance.get("/v1/messages/changes", params={"after": cursor})
    assert (refused.status_code, refused.json()["field"]) == (410, "after")
    found, cursor = follow_all(api)
    assert found == [str(kept.id)]
    api.store([later])
    assert follow_all(api, cursor)[0] == [str(later.id)]
    assert follow_all(api)[0] == [str(kept.id), str(later.id)]


@pytest.fixture
def older(database: ArchiveDatabase) -> Iterator[list[str]]:
    """IMs in an archive of before transactions were kept, out of order."""
    database.begin_anew(archiving.migrations, "0019")
    committer = Committer(database)
    for at in (5, 1, 3, -40 * 86_400_000):
        committer.insert(NOW + at)
    ids = committer.end(commit=True)
    committer.close()
    archiving.migrations.migrate(database.url("lcs_owner"))
    yield sorted(ids)


def test_ims_of_before_come_first_by_their_ids(
    older: list[str], database: ArchiveDatabase, tmp_path: Any
) -> None:
    archive = Archive(database.url("lcs_archiving"))
    late = make_im(at_ms=NOW - 1000)
    archive.store([late])
    archive.close()
    with running_api(database, tmp_path) as api:
        for limit in (1, 2, 10):
            assert follow_all(api, limit=limit)[0] == [*older, str(late.id)]
