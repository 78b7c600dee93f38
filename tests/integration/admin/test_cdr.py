"""Call detail records as they are read: pages, the file, and whether they agree with the archive."""

import codecs
import csv
import io
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from admin_api.cdr.queries import Filter, query_of
from admin_api.cdr.reconciliation import reconcile as reconcile_once
from admin_api.cdr.reconciliation import steps_of, total_of
from admin_api.database import Database
from deploy.local.process import wait_for
from tests.integration.admin.conftest import AdminApi, make_im

START = datetime(2026, 3, 1, 8, tzinfo=UTC)
YANNIS, ADA = "sip:yannis@contoso.com", "sip:ada@contoso.com"
KEY = f"{ADA},{YANNIS}"


def record(api: AdminApi, seconds: float, *, until: float | None = None, **fields: Any) -> None:
    """Store what yannis did in a conversation with ada some seconds after the start, as the worker does."""
    first, last = (
        START + timedelta(seconds=place) for place in (seconds, seconds if until is None else until)
    )
    activity = {
        "conversation": KEY, "sender": YANNIS, "recipients": [ADA], "scope": "internal", "pool": "pool1",
        "client": "test", "first": first.isoformat(), "last": last.isoformat(), "archived": 1, "passed": {},
        "invited": False, "ended": "",
    }  # fmt: skip
    with psycopg.connect(api.database.url("lcs_archiving")) as connection:
        connection.execute(
            "SELECT cdr.log_activities(gen_random_uuid(), %s, '10 minutes')",
            [json.dumps([activity | fields])],
        )


def at_ms(seconds: float) -> int:
    """Return a time after the start in milliseconds since 1970."""
    return round((START.timestamp() + seconds) * 1000)


def fill(api: AdminApi, sessions: int, *, padding: int = 0) -> None:
    """Store many sessions, one a second; their numbers go against their times."""
    with psycopg.connect(api.database.url("postgres")) as connection:
        connection.execute(
            "WITH made AS ("
            " INSERT INTO cdr.sessions (conversation, invited, scope, pool, caller, client, started_at,"
            "                           last_at, archived, passed)"
            " SELECT n || repeat('x', %(padding)s), false, 'internal', 'pool1', %(caller)s, 'test',"
            "        %(start)s - n * interval '1 second', %(start)s, 1, '{}'"
            " FROM generate_series(1, %(sessions)s) AS n RETURNING id)"
            " INSERT INTO cdr.parties SELECT id, %(caller)s, 1, 'test' FROM made",
            {"padding": padding, "caller": YANNIS, "start": START, "sessions": sessions},
        )
        connection.execute("ANALYZE cdr.sessions, cdr.parties")


def fail(api: AdminApi) -> None:
    """Let the database give up whatever reads call detail records, as it does what takes too long."""
    api.execute(
        "CREATE OR REPLACE FUNCTION cdr.total_of(counts jsonb) RETURNS bigint LANGUAGE plpgsql AS $$"
        " BEGIN RAISE query_canceled; END $$"
    )
    api.execute(
        "CREATE OR REPLACE FUNCTION cdr.lowest_id(at timestamptz) RETURNS uuid LANGUAGE plpgsql AS $$"
        " BEGIN RAISE query_canceled; END $$"
    )


def test_sessions_are_listed_and_paged_by_when_they_began(api: AdminApi) -> None:
    for place in (20, 0, 30, 10, 30):
        record(api, place, conversation=f"c{place}", archived=place + 1)
    record(api, 30, conversation="another")
    found: list[str] = []
    parameters = {"limit": "2"}
    while True:
        page = api.compliance.get("/v1/cdr", params=parameters).raise_for_status().json()
        found += [session["conversation"] for session in page["sessions"]]
        if page["next"] is None:
            break
        parameters["after"] = page["next"]
        record(api, 40 + len(found), conversation="begun meanwhile")
    assert found == ["another", "c30", "c20", "c10", "c0"]


def test_a_session_says_what_was_unseen_and_what_each_tried(api: AdminApi) -> None:
    record(api, 0, unseen=["msrp"], attempts={"file": 1})
    record(api, 1, unseen=["file"], attempts={"file": 1, "t140": 2})
    record(api, 2, sender=ADA, recipients=[YANNIS])
    [session] = api.compliance.get("/v1/cdr").raise_for_status().json()["sessions"]
    assert session["unseen"] == ["file", "msrp"]
    assert session["attempts"] == {YANNIS: {"file": 2, "t140": 2}}
    exported = api.compliance.get("/v1/cdr/csv").raise_for_status()
    lines = {line["participant"]: line for line in csv.DictReader(io.StringIO(exported.text))}
    assert (lines[YANNIS]["unseen"], lines[YANNIS]["attempts"]) == ("file msrp", "file=2 t140=2")
    assert lines[ADA]["attempts"] == ""


def test_people_who_try_are_named_the_most_frequent_first(api: AdminApi) -> None:
    refused: dict[str, Any] = {"archived": 0, "invited": True, "ended": "488"}
    for place in range(3):
        record(api, place, conversation=f"c{place}", attempts={"msrp": 1}, **refused)
    record(api, 9, conversation="c9", sender=ADA, recipients=[YANNIS], attempts={"disguised": 1}, archived=0)
    record(api, 99, conversation="later", attempts={"msrp": 1}, **refused)
    times = {"from": START.isoformat(), "to": (START + timedelta(seconds=60)).isoformat()}
    found = api.compliance.get("/v1/cdr/attempts", params=times).raise_for_status().json()["people"]
    assert [(each["address"], each["attempts"], each["kinds"]) for each in found] == [
        (YANNIS, 3, {"msrp": 3}),
        (ADA, 1, {"disguised": 1}),
    ]
    assert datetime.fromisoformat(found[0]["last_at"]) == START + timedelta(seconds=2)
    assert api.audit()[0]["action"] == "cdr.attempts"
    [one] = api.compliance.get("/v1/cdr/attempts", params=times | {"limit": 1}).json()["people"]
    assert one["address"] == YANNIS


def test_sessions_of_a_time_are_found_by_an_index(api: AdminApi) -> None:
    fill(api, 5000)
    hour = Filter(**{"from": START - timedelta(seconds=4000), "to": START - timedelta(seconds=3990)})
    for chosen, after in (
        (hour, None),
        (hour, f"{START.isoformat()},7"),
        (Filter(), f"{START.isoformat()},7"),
    ):
        query = query_of(chosen, after).limit(101)
        plan = api.plan_of(lambda _: query)  # noqa: B023 - it is called at once
        assert "Index Scan Backward using sessions_started" in plan
        assert "Sort" not in plan


@pytest.mark.parametrize(
    "after", ["17", "2026-03-01T08:00:00Z", "2026-03-01T08:00:00,1", ",", "2026-03-01T08:00:00Z,0", "x,1"]
)
def test_a_cursor_that_is_none_is_named(idle_api: AdminApi, after: str) -> None:
    answer = idle_api.compliance.get("/v1/cdr", params={"after": after})
    assert (answer.status_code, answer.json()["field"]) == (422, "after")


def test_the_file_has_each_session_once_however_many_pages_it_takes(api: AdminApi) -> None:
    fill(api, 2500)
    exported = api.compliance.get("/v1/cdr/csv").raise_for_status()
    conversations = [line["conversation"] for line in csv.DictReader(io.StringIO(exported.text))]
    assert conversations == [str(n) for n in range(1, 2501)]


def test_spreadsheets_are_told_on_request_that_the_file_is_in_utf8(api: AdminApi) -> None:
    fill(api, 1)
    plain, marked = (api.compliance.get("/v1/cdr/csv", params={"bom": bom}).content for bom in (False, True))
    assert marked == codecs.BOM_UTF8 + plain


def test_a_client_that_reads_the_file_slowly_holds_nothing_open_in_the_database(api: AdminApi) -> None:
    fill(api, 20_000, padding=1500)  # 30 MB: more than sockets hold
    at_work = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE usename = 'lcs_admin' AND datname = current_database() AND state <> 'idle'"
    )
    with api.compliance.stream("GET", "/v1/cdr/csv") as answer:
        assert answer.status_code == 200
        chunks = answer.iter_bytes()
        size = len(next(chunks))
        wait_for(lambda: api.database.rows(at_work) == [(0,)], "the transactions to end")
        size += sum(len(chunk) for chunk in chunks)
    assert size > 30_000_000


def test_an_export_that_the_database_cannot_begin_is_answered_as_a_problem_and_recorded(
    api: AdminApi,
) -> None:
    fill(api, 1)
    fail(api)
    answer = api.compliance.get("/v1/cdr/csv")
    assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/problem+json")
    assert [record["action"] for record in api.audit()] == ["cdr.export"]


def test_a_search_that_takes_too_long_is_recorded_and_answered_with_advice(api: AdminApi) -> None:
    fill(api, 1)
    fail(api)
    answer = api.compliance.get("/v1/cdr", params={"user": YANNIS})
    assert answer.status_code == 503
    assert "Narrow it by user" in answer.json()["detail"]
    [attempt] = api.audit()
    assert (attempt["action"], attempt["detail"]) == (
        "cdr.search",
        {"parameters": {"user": [YANNIS], "limit": 100}, "failed": "it took too long"},
    )


def times(since: float, until: float) -> dict[str, str]:
    return {
        name: (START + timedelta(seconds=place)).isoformat().replace("+00:00", "Z")
        for name, place in (("from", since), ("to", until))
    }


def test_a_reconciliation_gives_operators_totals_and_compliance_officers_names(api: AdminApi) -> None:
    record(api, 0, archived=3)
    record(api, 1, conversation="agrees", archived=1, passed={"internal-none": 2})
    api.store([make_im(at_ms=at_ms(1), conversation="agrees")])
    totals = {
        "conversations": 2, "messages": 6, "recorded": 4, "not_archived": 2, "archived": 1, "differing": 1,
        "parked": 0, "discarded": 0, "unattributed": 0,
    }  # fmt: skip
    asked = times(0, 60)
    seen = api.operator.get("/v1/cdr/reconciliation", params=asked)
    assert seen.json() == totals | {"differences": None}
    assert ADA not in seen.text
    named = api.compliance.get("/v1/cdr/reconciliation", params=asked).json()
    differences = [
        {"conversation": KEY, "recorded": 3, "archived": 0, "parked": 0, "discarded": 0, "minutes": 1}
    ]
    assert named == totals | {"differences": differences}
    by_officer, by_operator = api.audit(action="cdr.reconciliation")
    assert (by_officer["actor"], by_officer["detail"]["count"]) == ("the compliance", 1)
    assert by_officer["detail"]["parameters"] == {
        "from": START.isoformat(),
        "to": "2026-03-01T08:01:00+00:00",
    }
    assert (by_operator["actor"], by_operator["detail"]["count"]) == ("the operator", 0)


def test_a_reconciliation_that_takes_too_long_is_recorded_and_answered_with_advice(api: AdminApi) -> None:
    fill(api, 10)
    fail(api)
    answer = api.compliance.get("/v1/cdr/reconciliation", params=times(-60, 60))
    assert answer.status_code == 503
    assert "shorter time" in answer.json()["detail"]
    [attempt] = api.audit()
    assert (attempt["action"], attempt["detail"]["failed"]) == ("cdr.reconciliation", "it took too long")


def test_the_steps_of_a_reconciliation_come_to_the_same_as_the_whole(api: AdminApi) -> None:
    # Sessions within a step, over one end, over several, begun before all and going on after all;
    # a conversation of two sessions; one that nobody recorded, one that the archive lacks, where steps end.
    spans = [(10, 20), (290, 310), (200, 1000), (-100, 30), (1100, 1300), (-50, 1250)]
    ims = []
    for number, (first, last) in enumerate(spans):
        record(api, first, until=last, archived=6, conversation=f"c{number}")
        ims += [(first + (last - first) * place / 5, f"c{number}") for place in range(6)]
    record(api, 100, until=299, archived=2, conversation="twice")
    record(api, 900, until=1201, archived=2, conversation="twice")
    ims += [(100, "twice"), (299, "twice"), (900, "twice"), (1201, "twice")]
    ims += [(300, "nobody recorded"), (600, "nobody recorded")]
    record(api, 600, archived=1, conversation="lost")
    api.store([make_im(at_ms=at_ms(place), conversation=key) for place, key in ims])
    database = Database(api.database.url("lcs_admin"))
    since, until = START, START + timedelta(seconds=1200)
    whole = reconcile_once(database, since, until)
    steps = [reconcile_once(database, *step) for step in steps_of(since, until)]
    database.close()
    assert len(steps) == 4
    total = total_of(steps)
    for one in (whole, total):
        assert (one.recorded, one.archived, one.not_archived) == (29, 30, 0)
    assert [(each.conversation, each.recorded, each.archived) for each in whole.differences or []] == [
        ("nobody recorded", 0, 2), ("lost", 1, 0),
    ]  # fmt: skip
    assert (whole.differing, total.differing) == (2, 3)


def test_one_minute_does_not_make_up_for_another(api: AdminApi) -> None:
    record(api, 5)
    record(api, 130, until=131)
    api.store([make_im(at_ms=at_ms(place), conversation=KEY) for place in (5, 70)])
    found = api.compliance.get("/v1/cdr/reconciliation", params=times(0, 300)).json()
    assert (found["recorded"], found["archived"], found["differing"]) == (2, 2, 1)
    assert found["differences"] == [
        {"conversation": KEY, "recorded": 2, "archived": 2, "parked": 0, "discarded": 0, "minutes": 2}
    ]


def test_a_sum_over_minutes_of_an_older_front_end_is_compared_as_a_whole(api: AdminApi) -> None:
    record(api, 5, until=3605, archived=3)
    record(api, 70, archived=1)
    api.store([make_im(at_ms=at_ms(place), conversation=KEY) for place in (5, 70, 1800, 3605)])
    assert api.operator.get("/v1/cdr/reconciliation", params=times(0, 7200)).json()["differing"] == 0


def test_the_command_says_by_its_exit_code_whether_they_agree_and_names_nobody(api: AdminApi) -> None:
    def reconcile(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "admin_api", "reconcile", *arguments],
            env={"LCS_DATABASE_URL": api.database.url("lcs_admin")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout

    now = datetime.now(UTC)
    for minutes in (30, 90):
        began = (now - START).total_seconds() - minutes * 60
        record(api, began, archived=1, conversation=f"{KEY} {minutes}")
        if minutes == 30:
            api.store([make_im(at_ms=at_ms(began), conversation=f"{KEY} {minutes}")])
    code, said = reconcile()
    assert (code, said) == (
        0,
        "1 conversations: 1 messages, 0 not archived by rule, 1 recorded as archived, 1 in the archive,"
        " 0 differ\n",
    )
    code, said = reconcile("--hours", "2")
    assert code == 1
    assert "2 conversations: 2 messages" in said
    assert "1 differ" in said
    assert ADA not in said
