"""People, front ends and whoever watches hold up none of the others."""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread
from types import SimpleNamespace
from uuid import UUID, uuid4

import httpx
import msgspec
import psycopg
import pytest
from prometheus_client import REGISTRY
from sqlmodel import Session

from admin_api import health
from admin_api.access import bulkheads
from admin_api.archive.completeness.samples import show_counts
from admin_api.database import Database
from admin_api.policy import rendering
from contract.policy import PolicySettings, PolicyUser
from deploy.local.process import wait_for
from tests.integration.admin.conftest import AdminApi

USERS = 100_000
CHECK_IN = {"pool": "pool1", "agent": str(uuid4()), "version": 0, "state": "normal"}


@pytest.fixture
def renderings(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often what follows a version was rendered."""
    counted: Counter[int] = Counter()
    render = rendering._render

    def count(session: Session, since: int, stamp: UUID | None) -> object:
        counted[since] += 1
        return render(session, since, stamp)

    monkeypatch.setattr(rendering, "_render", count)
    return counted


@contextlib.contextmanager
def stalled_reader(api: AdminApi) -> Iterator[None]:
    """A front end that reads the head of a snapshot and then nothing more."""
    url = httpx.URL(api.url)
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.settimeout(60)
        reader.connect((url.host, url.port))
        reader.sendall(
            b"GET /v1/policy/snapshot HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer frontend\r\n\r\n"
        )
        assert reader.recv(12) == b"HTTP/1.1 200"
        yield


def sessions(api: AdminApi, more: str = "true") -> int:
    """Return how many sessions the service has of which something is true."""
    [(count,)] = api.database.rows(
        "SELECT count(*) FROM pg_stat_activity"  # noqa: S608 - a test's own words
        f" WHERE usename = 'lcs_admin' AND datname = current_database() AND {more}"
    )
    return int(str(count))


def test_front_ends_that_stall_hold_no_session_and_have_one_snapshot_made(
    api: AdminApi, renderings: Counter[int]
) -> None:
    api.execute(
        "INSERT INTO policy.users (address, archive_internal, archive_federated, version)"  # noqa: S608 - a number
        f" SELECT 'sip:user' || n || '@contoso.com', true, false, 1 FROM generate_series(1, {USERS}) AS n"
    )
    with contextlib.ExitStack() as readers:
        for _ in range(100):
            readers.enter_context(stalled_reader(api))
        assert sessions(api, "state LIKE 'idle in transaction%'") == 0
        assert api.frontend.post("/v1/front-ends/fe1/check-in", json=CHECK_IN).status_code == 200
        assert api.compliance.get("/v1/messages").status_code == 200
        assert len(api.frontend.get("/v1/policy/snapshot").content.splitlines()) == USERS + 1
        assert renderings == {0: 1}


def test_searches_that_take_long_hold_up_neither_front_ends_nor_other_people(
    api: AdminApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulkheads, "_WAIT_SECONDS", 0.0)
    with ThreadPoolExecutor(45) as officers, psycopg.connect(api.database.url("postgres")) as holder:
        holder.execute("LOCK TABLE archive.messages")
        searches = [officers.submit(api.compliance.get, "/v1/messages") for _ in range(45)]
        wait_for(lambda: sum(search.done() for search in searches) == 41, "all but some are refused")
        wait_for(lambda: sessions(api, "wait_event_type = 'Lock'") == 4, "the others' searches")
        assert api.frontend.post("/v1/front-ends/fe1/check-in", json=CHECK_IN).status_code == 200
        assert api.frontend.get("/v1/policy/snapshot").status_code == 200
        assert api.administrator.get("/v1/policy").status_code == 200
        assert api.anybody.get("/readyz").status_code == 200
        holder.rollback()
        answers = [search.result() for search in searches]
    [refused, *others] = [answer for answer in answers if answer.status_code == 429]
    assert len(others) == 40
    assert (refused.headers["Retry-After"], "4 requests" in refused.json()["detail"]) == ("1", True)
    assert api.compliance.get("/v1/messages").status_code == 200


@pytest.mark.parametrize("path", ["/metrics", "/readyz"])
def test_however_many_watch_the_database_is_looked_at_once(api: AdminApi, path: str) -> None:
    with ThreadPoolExecutor(20) as strangers:
        answers = list(strangers.map(lambda _: api.anybody.get(path).status_code, range(100)))
    assert answers == [200] * 100
    assert sessions(api) <= 2


def test_metrics_say_how_old_their_sample_is(api: AdminApi) -> None:
    assert "\nlcs_admin_sample_age_seconds " in api.anybody.get("/metrics").text


def test_a_count_that_failed_makes_no_sample_young(monkeypatch: pytest.MonkeyPatch) -> None:
    away = Database("postgresql://lcs_admin@127.0.0.1:1/lcslog")
    assert not show_counts(away)
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(health, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(health, "_SAMPLE_SECONDS", 0)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        counts: asyncio.Queue[Database] = asyncio.Queue()

        def count(database: Database) -> bool:
            clock.now += 100
            loop.call_soon_threadsafe(counts.put_nowait, database)
            return False

        monkeypatch.setattr(health, "show_counts", count)
        task = asyncio.create_task(health.Looks(away).run())
        for _ in range(3):
            await counts.get()
        assert (REGISTRY.get_sample_value("lcs_admin_sample_age_seconds") or 0) >= 300
        task.cancel()

    asyncio.run(run())


def test_whatever_is_served_is_the_policy_of_its_version(api: AdminApi) -> None:
    address = "sip:anna@contoso.com"
    flags = {api.version: 0}
    done = Event()

    def change() -> None:
        for number in range(1, 60):
            document = {"archive_internal": bool(number & 1), "archive_federated": bool(number & 2)}
            answer = api.administrator.put(f"/v1/policy/users/{address}", json=document)
            flags[answer.json()["version"]] = number & 3
        done.set()

    served: list[tuple[PolicySettings, list[PolicyUser]]] = []
    writer = Thread(target=change)
    writer.start()
    try:
        while not done.is_set():
            known = served[-1][0] if len(served) % 2 else None
            params = {} if known is None else {"since": str(known.version), "stamp": str(known.stamp)}
            head, *lines = api.frontend.get("/v1/policy/snapshot", params=params).content.splitlines()
            users = [msgspec.json.decode(line, type=PolicyUser) for line in lines]
            served.append((msgspec.json.decode(head, type=PolicySettings), users))
    finally:
        writer.join()
    assert len({header.version for header, _ in served}) > 1
    for header, users in served:
        changed = header.version > header.since
        expected = [PolicyUser(address, flags[header.version])] if changed else []
        assert users == ([user for user in expected if user.flags] if not header.since else expected)


def test_rows_changed_by_hand_reach_a_front_end_that_differs(api: AdminApi, renderings: Counter[int]) -> None:
    address = "sip:anna@contoso.com"
    document = {"archive_internal": True, "archive_federated": False}
    api.administrator.put(f"/v1/policy/users/{address}", json=document).raise_for_status()
    first = api.frontend.get("/v1/policy/snapshot").content
    assert api.frontend.get("/v1/policy/snapshot").content == first
    assert renderings == {0: 1}
    api.execute("UPDATE policy.users SET archive_federated = true")
    header = msgspec.json.decode(first.splitlines()[0], type=PolicySettings)
    told = CHECK_IN | {"version": header.version, "stamp": str(header.stamp), "digest": "1:other"}

    def is_told() -> bool:
        return bool(api.frontend.post("/v1/front-ends/fe1/check-in", json=told).json()["anew"])

    wait_for(is_told, "the digest to differ")
    [_, user] = api.frontend.get("/v1/policy/snapshot").content.splitlines()
    assert msgspec.json.decode(user, type=PolicyUser) == PolicyUser(address, 3)
