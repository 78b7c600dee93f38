"""Call detail records, from the queue to what an officer is shown."""

import contextlib
import csv
import io
import random
import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pika
import psycopg
import pytest

import archiving.migrations
from archiving.cdr.records import Records
from archiving.delivery import Delivery
from archiving.parked.replay import replay_each
from archiving.senders import Senders
from contract.cdr import CDR_TYPE, Activity, encode_activities
from contract.topology import CDR_EXCHANGE, CDR_QUEUE
from deploy.credentials import FRONT_END_USER
from deploy.local.process import Process, find_free_port, wait_for
from tests.conftest import ArchiveDatabase, Vhost
from tests.integration.admin.conftest import AdminApi, running_api
from tests.integration.archiving_service import make_ims, running_worker, worker_environment
from tests.integration.frontend_service import IM, FrontEnd

YANNIS, ADA = "sip:yannis@contoso.com", "sip:ada@contoso.com"
START = datetime(2026, 3, 1, 8, tzinfo=UTC)


def activity(minutes: float = 0, *, last: float | None = None, **fields: Any) -> Activity:
    """Return what yannis did in a conversation with ada, some minutes after the start."""
    at = START + timedelta(minutes=minutes)
    until = at if last is None else START + timedelta(minutes=last)
    common: dict[str, Any] = {
        "conversation": "c1", "sender": YANNIS, "recipients": (ADA,), "scope": "internal", "pool": "pool1",
        "client": "test", "first": at, "last": until,
    }  # fmt: skip
    return Activity(**common | fields)


def random_text(length: int) -> str:
    """Return a text of characters of four bytes that can't be compressed."""
    return "".join(chr(0x10000 + each) for each in random.Random(1).choices(range(0x10000), k=length))


def publish(
    vhost: Vhost,
    *activities: Activity,
    message_id: str = "",
    body: bytes | None = None,
    user: str = "frontend",
    named: str | None = FRONT_END_USER,
) -> None:
    """Put one AMQP message on ``lcscdr`` as a front end would: ``user`` sends it and names ``named``."""
    with vhost.connect(user) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        properties = pika.BasicProperties(
            type=CDR_TYPE, message_id=message_id or str(uuid4()), delivery_mode=2, user_id=named
        )
        channel.basic_publish(
            CDR_EXCHANGE, CDR_QUEUE, encode_activities(activities) if body is None else body, properties
        )


@pytest.fixture
def api(vhost: Vhost, database: ArchiveDatabase, tmp_path: Path) -> Iterator[AdminApi]:
    """The admin API, for people of contoso.com."""
    with running_api(database, tmp_path, amqp_url=vhost.url("admin-api")) as running:
        running.administrator.put("/v1/policy/domains/contoso.com").raise_for_status()
        yield running


def _start_worker(environment: dict[str, str], folder: Path) -> Process:
    return Process("cdr", [sys.executable, "-m", "archiving", "cdr"], folder, environment)


@pytest.fixture
def worker(vhost: Vhost, database: ArchiveDatabase, tmp_path: Path) -> Iterator[Process]:
    """The worker of call detail records."""
    environment = worker_environment(vhost, database) | {"LCS_CDR_IDLE_SECONDS": "600"}
    process = _start_worker(environment, tmp_path / "cdr")
    yield process
    process.stop()


def sessions_of(api: AdminApi, **parameters: str) -> list[dict[str, Any]]:
    """Return the sessions that an officer finds, newest first."""
    answer = api.compliance.get("/v1/cdr", params=parameters).raise_for_status()
    sessions: list[dict[str, Any]] = answer.json()["sessions"]
    return sessions


def stored(api: AdminApi, sessions: int) -> list[dict[str, Any]]:
    """Return the sessions once there are so many, and nothing is on its way: what comes last is seen last."""
    wait_for(lambda: len(sessions_of(api)) >= sessions, f"{sessions} sessions")
    return sessions_of(api)


def parked(api: AdminApi, state: str = "parked") -> list[dict[str, Any]]:
    """Return what an operator sees parked, oldest first."""
    answer = api.operator.get("/v1/parked", params={"state": state}).raise_for_status()
    found: list[dict[str, Any]] = answer.json()["parked"]
    return found[::-1]


def test_single_messages_make_a_session_until_an_idle_time(
    vhost: Vhost, api: AdminApi, worker: Process
) -> None:
    publish(vhost, activity(0, archived=2), activity(9, archived=1, sender=ADA, recipients=(YANNIS,)))
    publish(vhost, activity(18, passed={"internal-no-user": 3}))
    publish(vhost, activity(40, archived=1))
    later, first = stored(api, 2)
    assert (first["messages"], first["archived"]) == (6, 3)
    assert first["not_archived"] == {"internal-no-user": 3}
    assert (first["caller"], first["invited"], first["seconds"]) == (YANNIS, False, 18 * 60)
    assert first["parties"] == [
        {"address": ADA, "sent": 1, "client": "test"},
        {"address": YANNIS, "sent": 5, "client": "test"},
    ]
    assert (later["messages"], later["started_at"]) == (1, "2026-03-01T08:40:00Z")
    wait_for(lambda: {s["ended"] for s in sessions_of(api)} == {"idle"}, "idle sessions to be ended")
    assert sessions_of(api)[1]["ended_at"] == "2026-03-01T08:18:00Z"


def test_a_session_lasts_from_invite_to_bye(vhost: Vhost, api: AdminApi, worker: Process) -> None:
    publish(vhost, activity(0, invited=True))
    publish(vhost, activity(1, archived=2), activity(100, archived=1))
    publish(vhost, activity(200, ended="bye"))
    publish(vhost, activity(201, archived=1))
    after, session = stored(api, 2)
    assert (session["invited"], session["ended"], session["messages"]) == (True, "bye", 3)
    assert (session["started_at"], session["ended_at"]) == ("2026-03-01T08:00:00Z", "2026-03-01T11:20:00Z")
    assert after["messages"] == 1, "what comes after the end is another session"


def test_an_invite_that_is_refused_is_a_session_without_messages(
    vhost: Vhost, api: AdminApi, worker: Process
) -> None:
    publish(vhost, activity(0, invited=True), activity(0.1, ended="486"))
    wait_for(lambda: stored(api, 1)[0]["ended"] is not None, "the end")
    [session] = sessions_of(api)
    assert (session["ended"], session["messages"], session["seconds"]) == ("486", 0, 6)


def test_an_amqp_message_that_comes_again_counts_once(vhost: Vhost, api: AdminApi, worker: Process) -> None:
    for _ in range(3):
        publish(vhost, activity(archived=2), message_id="0199c0de-0000-7000-8000-000000000000")
    publish(vhost, activity(archived=1, conversation="what comes last"))
    _, session = stored(api, 2)
    assert session["messages"] == 2


def test_what_is_not_of_this_pools_front_ends_is_kept_apart(
    vhost: Vhost, api: AdminApi, worker: Process
) -> None:
    other = "frontend~pool2"
    vhost.add_user(other)
    publish(vhost, activity(archived=1, conversation="forged"), user=other, named=other)
    publish(vhost, activity(archived=1, conversation="of nobody"), named=None)
    publish(vhost, activity(archived=1, pool="pool2", conversation="theirs"), user=other, named=other)
    assert [session["conversation"] for session in stored(api, 1)] == ["theirs"]
    forged, anonymous = parked(api)
    assert "not of 'pool1'" in forged["reason"]
    assert "no user_id" in anonymous["reason"]
    api.operator.post("/v1/parked/replay", json={"reason": "vouched for"}).raise_for_status()
    assert stored(api, 2)[0]["conversation"] == "of nobody"
    wait_for(lambda: parked(api, "replaying") == [], "the replays")
    assert [each["id"] for each in parked(api)] == [forged["id"]]


def test_what_cannot_be_read_is_kept_apart_and_holds_nothing_up(
    vhost: Vhost, api: AdminApi, worker: Process
) -> None:
    publish(vhost, body=b"{not an activity")
    publish(vhost, activity(archived=1, conversation="a\0b"))
    publish(vhost, activity(archived=1))
    assert len(stored(api, 1)) == 1
    unreadable, refused = parked(api)
    assert api.compliance.get(f"/v1/parked/{unreadable['id']}").json()["text"] == "{not an activity"
    assert "cannot be stored" in refused["reason"]


@pytest.mark.parametrize(
    ("body", "message_id"),
    [
        (encode_activities([activity(archived=1, sender=random_text(2200))]), ""),  # for an index
        (b'{"mood":' + b"[" * 2000 + b"]" * 2000 + b"}", ""),
        (encode_activities([activity(archived=1)]), b"\xff"),
    ],
    ids=["too long for an index", "nested a thousandfold", "an id that is no text"],
)
def test_what_can_never_be_stored_is_kept_apart_and_what_is_behind_it_is_stored(
    vhost: Vhost, database: ArchiveDatabase, worker: Process, body: bytes, message_id: str
) -> None:
    publish(vhost, body=body, message_id=message_id)
    publish(vhost, activity(archived=1, conversation="behind it"))
    sessions = "SELECT conversation FROM cdr.sessions"
    wait_for(lambda: database.rows(sessions) == [("behind it",)], "the session behind it")
    [(kind, ims, kept)] = database.rows("SELECT kind, ims, body FROM archive.parked")
    assert (kind, ims, bytes(kept).rstrip()) == ("cdr", 0, body.rstrip())  # type: ignore[call-overload] # bytes


def test_one_line_that_cannot_be_stored_is_parked_and_the_rest_of_its_message_is_stored_once(
    vhost: Vhost, api: AdminApi, worker: Process, database: ArchiveDatabase
) -> None:
    good = [activity(archived=1, conversation=f"c{number}") for number in range(200)]
    lines = encode_activities(good).splitlines()
    refused = encode_activities([activity(archived=1, sender=random_text(2200))]).rstrip()
    lines[50], lines[150] = refused, b"{not an activity"
    for _ in range(2):
        publish(vhost, body=b"\n".join(lines), message_id="0199c0de-0000-7000-8000-000000000000")
    publish(vhost, activity(archived=1, conversation="behind it"))
    wait_for(lambda: database.rows("SELECT count(*) FROM cdr.sessions") == [(199,)], "the others")
    assert database.rows("SELECT max(archived) FROM cdr.sessions") == [(1,)]
    assert [each["kind"] for each in parked(api)] == ["cdr", "cdr"]
    bodies = [each for (each,) in database.rows("SELECT body FROM archive.parked ORDER BY id")]
    assert sorted(bodies) == sorted([lines[50], lines[150]])  # type: ignore[type-var] # bytes
    assert api.operator.get("/v1/parked").json()["waiting"] == 0, "no IM waits"


def test_what_was_parked_is_stored_by_a_replay_once_the_cause_is_mended_or_discarded(
    vhost: Vhost, api: AdminApi, worker: Process, database: ArchiveDatabase
) -> None:
    api.execute("ALTER TABLE cdr.sessions ADD CONSTRAINT ours CHECK (conversation <> 'theirs')")
    publish(
        vhost,
        activity(archived=1, conversation="theirs"),
        activity(archived=1, conversation="ours"),
        activity(archived=1, sender=random_text(2200)),
    )
    wait_for(lambda: len(parked(api)) == 2, "the parked lines")
    [theirs, never] = parked(api)
    ask = {"reason": "try it"}
    api.operator.post(f"/v1/parked/{theirs['id']}/replay", json=ask).raise_for_status()
    wait_for(lambda: parked(api, "replaying") == [], "a replay in vain")
    assert len(parked(api)) == 2
    api.execute("ALTER TABLE cdr.sessions DROP CONSTRAINT ours")
    api.operator.post("/v1/parked/replay", json=ask).raise_for_status()
    wait_for(lambda: parked(api, "replaying") == [], "the replays")
    assert [each["id"] for each in parked(api)] == [never["id"]]
    assert sorted((each["conversation"], each["messages"]) for each in sessions_of(api)) == [
        ("ours", 1), ("theirs", 1),
    ]  # fmt: skip
    api.compliance.post(f"/v1/parked/{never['id']}/discard", json=ask).raise_for_status()
    assert parked(api) == []


def test_a_line_that_fails_as_nobody_foresaw_is_parked_by_evidence(
    vhost: Vhost, api: AdminApi, worker: Process
) -> None:
    api.execute(
        "CREATE FUNCTION cdr.fail() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN RAISE EXCEPTION 'cursed' USING ERRCODE = 'internal_error'; END $$;"
        " CREATE TRIGGER fail BEFORE INSERT ON cdr.sessions FOR EACH ROW"
        " WHEN (NEW.conversation = 'cursed') EXECUTE FUNCTION cdr.fail()"
    )
    publish(vhost, activity(archived=1, conversation="cursed"), activity(archived=1, conversation="good"))
    publish(vhost, activity(archived=1, conversation="behind it"))
    wait_for(lambda: len(sessions_of(api)) == 2, "the others", seconds=60)
    [cursed] = parked(api)
    assert "cursed" in cursed["reason"]


def test_a_replay_that_was_cut_short_counts_once(database: ArchiveDatabase) -> None:
    records = Records(database.url("lcs_archiving"), timedelta(minutes=10))
    senders = Senders({}, trust_anonymous=True)
    properties = pika.BasicProperties(type=CDR_TYPE)
    delivery = Delivery(0, 0, properties, encode_activities([activity(archived=1)]))
    assert records.replay(7, delivery, senders) is None
    assert records.replay(7, delivery, senders) is None
    records.close()
    assert database.rows("SELECT sum(archived) FROM cdr.sessions") == [(1,)]


def test_what_an_older_version_kept_apart_is_parked(database: ArchiveDatabase) -> None:
    database.begin_anew(archiving.migrations, "0014")
    body = encode_activities([activity(archived=1)])
    with psycopg.connect(database.url("lcs_archiving")) as connection:
        connection.execute("SELECT cdr.reject('so it was', %s)", [body])
    archiving.migrations.migrate(database.url("lcs_owner"))
    with psycopg.connect(database.url("lcs_archiving")) as connection:  # an older worker goes on
        connection.execute("SELECT cdr.reject('and so', %s)", [body + b" "])
        assert connection.execute("SELECT id FROM archive.take_replay()").fetchall() == [(None,)]
    assert database.rows("SELECT kind, reason, body FROM archive.parked ORDER BY id") == [
        ("cdr", "so it was", body), ("cdr", "and so", body + b" "),
    ]  # fmt: skip
    records = Records(database.url("lcs_archiving"), timedelta(minutes=10))
    with psycopg.connect(database.url("lcs_archiving")) as connection:
        connection.execute("SELECT archive.request_replay(NULL, 'an operator', 'mended')")
    senders = Senders({}, trust_anonymous=False)
    tried = replay_each(records, lambda number, each: records.replay(number, each, senders), lambda: False)
    records.close()
    assert tried == (2, 0)


def test_a_killed_worker_loses_and_doubles_nothing(
    vhost: Vhost, api: AdminApi, database: ArchiveDatabase, tmp_path: Path
) -> None:
    environment = worker_environment(vhost, database)
    for number in range(100):
        publish(vhost, activity(archived=1, conversation=f"c{number % 7}"))
    for round_ in range(3):
        process = Process(
            "cdr", [sys.executable, "-m", "archiving", "cdr"], tmp_path / f"{round_}", environment
        )
        if round_ < 2:
            wait_for(lambda: vhost.depth(CDR_QUEUE) < 100, "some to be taken")
            process.kill()
        else:
            wait_for(lambda: _total(api) >= 100, "all to be stored")
            process.stop()
    assert _total(api) == 100


def _total(api: AdminApi) -> int:
    return sum(int(session["messages"]) for session in sessions_of(api))


def test_sessions_are_filtered_paged_exported_and_each_look_is_audited(
    vhost: Vhost, api: AdminApi, worker: Process
) -> None:
    publish(vhost, *(activity(number, archived=1, conversation=f"c{number}") for number in range(5)))
    publish(
        vhost, activity(0, conversation="f", scope="federated", sender="sip:bob@fabrikam.com", archived=1)
    )
    publish(vhost, activity(0, conversation="=1+1", recipients=("sip:grace@contoso.com",), archived=1))
    assert len(stored(api, 7)) == 7
    assert len(sessions_of(api, user="yannis@contoso.com")) == 6
    assert [s["conversation"] for s in sessions_of(api, scope="federated")] == ["f"]
    assert [s["conversation"] for s in sessions_of(api, **{"from": "2026-03-01T08:03:00Z"})] == ["c4", "c3"]
    page = api.compliance.get("/v1/cdr", params={"limit": 4}).json()
    rest = api.compliance.get("/v1/cdr", params={"limit": 4, "after": page["next"]}).json()
    assert (len(page["sessions"]), len(rest["sessions"]), rest["next"]) == (4, 3, None)
    exported = api.compliance.get("/v1/cdr/csv", params={"user": "grace@contoso.com"})
    assert exported.headers["content-type"].startswith("text/csv")
    lines = list(csv.DictReader(io.StringIO(exported.text)))
    assert [(line["participant"], line["caller"], line["sent"]) for line in lines] == [
        ("sip:grace@contoso.com", "False", "0"),
        (YANNIS, "True", "1"),
    ]
    assert lines[0]["conversation"] == "'=1+1", "no spreadsheet takes it for a formula"
    assert api.compliance.get("/v1/cdr", params={"usr": "x"}).status_code == 422
    assert [record["action"] for record in api.audit()[:2]] == ["cdr.export", "cdr.search"]


def test_front_ends_count_what_may_be_delivered_and_the_records_agree_with_the_archive(
    vhost: Vhost,
    api: AdminApi,
    worker: Process,
    database: ArchiveDatabase,
    tmp_path: Path,
    start: Callable[..., FrontEnd],
) -> None:
    since = datetime.now(UTC) - timedelta(minutes=1)
    front_end = start(vhost.url("frontend"), LCS_ADMIN_API_URL=api.url, LCS_ADMIN_API_TOKEN="frontend")
    api.administrator.put("/v1/policy/global/internal", json={"archive": "per_user"}).raise_for_status()
    flags = {"archive_internal": True, "archive_federated": False}
    api.administrator.put("/v1/policy/users/ada@contoso.com", json=flags).raise_for_status()
    wait_for(lambda: _policy_of(front_end) == api.version, "the policy")
    front_end.wait_until_ready()
    with running_worker(vhost, database, tmp_path / "worker"):
        for number in range(5):
            assert front_end.post(IM | {"recipients": ["ada@contoso.com"]}).status_code == 201
            assert front_end.post(IM | {"body": f"off the record {number}"}).status_code == 200
        assert front_end.post(IM | {"body": 7}).status_code == 422
        wait_for(lambda: _total(api) == 10, "all to be recorded")
        archived, passed = (
            sessions_of(api, user="ada@contoso.com"),
            sessions_of(api, user="administrator@contoso.com"),
        )
        assert (archived[0]["archived"], archived[0]["client"]) == (5, "c")
        assert passed[0]["not_archived"] == {"internal-no-user": 5}
        times = {"from": since.isoformat(), "to": (since + timedelta(hours=1)).isoformat()}

        def found() -> dict[str, Any]:
            answer: dict[str, Any] = api.operator.get("/v1/cdr/reconciliation", params=times).json()
            return answer

        wait_for(lambda: found()["archived"] == 5, "all to be archived")
        assert found() == {
            "conversations": 2, "messages": 10, "recorded": 5, "not_archived": 5, "archived": 5,
            "parked": 0, "discarded": 0, "unattributed": 0,
            "differing": 0, "differences": None,
        }  # fmt: skip
        api.store([_unrecorded()])
        assert found()["differing"] == 1
        named = api.compliance.get("/v1/cdr/reconciliation", params=times).json()["differences"]
        of_its_conversation = {"recorded": 0, "archived": 1, "parked": 0, "discarded": 0, "minutes": 1}
        assert named == [{"conversation": "by another way"} | of_its_conversation]


def test_a_backlog_makes_a_session_of_each_of_its_times_and_the_records_agree_with_the_archive(
    vhost: Vhost,
    api: AdminApi,
    worker: Process,
    database: ArchiveDatabase,
    tmp_path: Path,
    start: Callable[..., FrontEnd],
) -> None:
    front_end = start(vhost.url("frontend"), LCS_ADMIN_API_URL=api.url, LCS_ADMIN_API_TOKEN="frontend")
    front_end.wait_until_ready()
    now = datetime.now(UTC)
    with running_worker(vhost, database, tmp_path / "worker"):
        for hours in (72, 48, 24, 0):
            at = (now - timedelta(hours=hours)).isoformat(timespec="milliseconds")
            assert front_end.post(IM | {"sent_at": at}).status_code == 201
        wait_for(lambda: _total(api) == 4, "all to be recorded")
        wait_for(lambda: database.rows("SELECT count(*) FROM archive.messages") == [(4,)], "all archived")
    assert [(each["messages"], each["seconds"]) for each in sessions_of(api)] == [(1, 0)] * 4
    for hours in (72, 48, 24, 0):
        sent, minute = now - timedelta(hours=hours), timedelta(minutes=1)
        asked = {"from": (sent - minute).isoformat(), "to": (sent + minute).isoformat()}
        found = api.operator.get("/v1/cdr/reconciliation", params=asked).json()
        assert (found["recorded"], found["archived"], found["differing"]) == (1, 1, 0)


def test_prometheus_is_told_who_tries_most(
    vhost: Vhost, api: AdminApi, tmp_path: Path, database: ArchiveDatabase
) -> None:
    port = find_free_port()
    environment = worker_environment(vhost, database) | {"LCS_PORT": str(port)}
    now = datetime.now(UTC)
    process = _start_worker(environment, tmp_path / "cdr")
    try:
        for number in range(12):
            tried = activity(sender=f"sip:p{number}@contoso.com", attempts={"msrp": number + 1})
            publish(vhost, msgspec.structs.replace(tried, first=now, last=now))

        def told() -> dict[str, str]:
            try:
                answer = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
            except httpx.ConnectError:
                return {}  # it starts
            return dict(re.findall(r'lcs_cdr_person_attempts{address="(.*)"} (.*)', answer))

        most = {f"sip:p{number}@contoso.com": f"{number + 1}.0" for number in range(2, 12)}
        wait_for(lambda: told() == most | {"": "0.0"}, "the ten with the most", seconds=60)
    finally:
        process.stop()


def _policy_of(front_end: FrontEnd) -> int:
    return int(front_end.http.get("/readyz").json()["policy"]["version"])


def _unrecorded() -> Any:
    return msgspec.structs.replace(make_ims(1)[0], conversation="by another way")


def test_records_can_be_switched_off_and_wait_while_the_broker_is_away(
    own_broker: Vhost, database: ArchiveDatabase, tmp_path: Path, start: Callable[..., FrontEnd]
) -> None:
    with contextlib.ExitStack() as parts:
        api = parts.enter_context(running_api(database, tmp_path, amqp_url=own_broker.url("admin-api")))
        api.administrator.put("/v1/policy/domains/contoso.com").raise_for_status()
        pool = {"archive": True, "critical": False, "archive_all_group": False}
        api.administrator.put("/v1/policy/pools/pool1", json=pool).raise_for_status()
        settings = {"LCS_ADMIN_API_URL": api.url, "LCS_ADMIN_API_TOKEN": "frontend"}
        front_end = start(own_broker.url("frontend"), **settings)

        def follow() -> None:
            wait_for(lambda: _policy_of(front_end) == api.version, "the policy")

        follow()
        front_end.wait_until_ready()
        api.administrator.put("/v1/policy/cdr", json={"enabled": False}).raise_for_status()
        follow()
        assert front_end.post(IM | {"body": "not recorded"}).status_code == 201
        api.administrator.put("/v1/policy/cdr", json={"enabled": True}).raise_for_status()
        follow()
        assert front_end.post(IM | {"body": "recorded"}).status_code == 201
        wait_for(lambda: own_broker.depth(CDR_QUEUE) == 1, "the record")
        own_broker.broker.kill()
        assert front_end.post(IM | {"body": "while it is away"}).status_code == 202
        own_broker.broker.start()
        environment = worker_environment(own_broker, database)
        process = _start_worker(environment, tmp_path / "cdr")
        parts.callback(process.stop)
        wait_for(lambda: _total(api) >= 2, "the records", seconds=60)
        assert [session["messages"] for session in sessions_of(api)] == [2]


def test_the_worker_may_do_no_more_than_its_functions(database: ArchiveDatabase) -> None:
    with psycopg.connect(database.url("lcs_archiving")) as connection:
        for statement in (b"DELETE FROM cdr.sessions", b"SELECT * FROM cdr.parties"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute(statement)
