"""A hole is told of though the queue was lost with all that told of it, and a long queue is no hole."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.topology import QUEUE
from deploy.local.process import wait_for
from frontend.agents_file import read_agents
from tests.conftest import ArchiveDatabase, Vhost
from tests.integration.admin.conftest import AdminApi, running_api
from tests.integration.archiving_service import finish, running_worker
from tests.integration.backups import dump, execute_file
from tests.integration.frontend_service import IM, FrontEnd

LOST = {"accepted": 20, "archived": 0, "parked": 0, "missing": 20, "waiting": 0}
WAITS = {"accepted": 20, "archived": 0, "parked": 0, "missing": 0, "waiting": 20}

HASTY = (
    "import archiving.consumer as c, archiving.progress as p, archiving.worker as w\n"
    "c._QUIET_SECONDS = w._PROGRESS_EVERY = 0.5; p._IN_HANDS_SECONDS = 1.0\n"
)
"""A patch: up to when the queue was read is known sooner. No other worker has anything in its hands."""


@pytest.fixture
def api(database: ArchiveDatabase, vhost: Vhost, tmp_path: Path) -> Iterator[AdminApi]:
    """The admin API, which reaches the broker."""
    with running_api(database, tmp_path, amqp_url=vhost.url("admin-api")) as running:
        yield running


def totals_of(api: AdminApi) -> dict[str, int]:
    """Return what completeness counts."""
    totals: dict[str, int] = api.operator.get("/v1/completeness").raise_for_status().json()["totals"]
    return {name: totals[name] for name in LOST}


def start_with(
    api: AdminApi, vhost: Vhost, start: Callable[..., FrontEnd], name: str = "fe", **settings: str
) -> FrontEnd:
    """Start a front end that tells the admin API."""
    front_end = start(
        vhost.url("frontend"), name, LCS_ADMIN_API_URL=api.url, LCS_ADMIN_API_TOKEN="frontend", **settings
    )
    front_end.wait_until_ready()
    return front_end


def send_20(front_end: FrontEnd) -> None:
    """Have 20 IMs answered 201."""
    assert [front_end.post(IM).status_code for _ in range(20)] == [201] * 20


def lose_queue(vhost: Vhost) -> None:
    """Lose all that is on the queue."""
    assert vhost.take(QUEUE)


def test_ims_lost_with_the_queue_are_missing(
    api: AdminApi, vhost: Vhost, database: ArchiveDatabase, tmp_path: Path, start: Callable[..., FrontEnd]
) -> None:
    """One front end is killed for good, with what it had on disk; the other has nothing more to say."""
    killed, idle = (start_with(api, vhost, start, name, LCS_FRONT_END=name) for name in ("fe1", "fe2"))
    send_20(killed)
    send_20(idle)
    both = {count: 2 * number for count, number in WAITS.items()}
    wait_for(lambda: totals_of(api) == both, "the front ends' word")
    killed.process.kill()
    lose_queue(vhost)
    lost = {count: 2 * number for count, number in LOST.items()}
    with running_worker(vhost, database, tmp_path / "worker"):
        wait_for(lambda: totals_of(api) == lost, "the holes to be told of", seconds=60)


def test_what_waits_long_is_not_missing(
    api: AdminApi, vhost: Vhost, database: ArchiveDatabase, tmp_path: Path, start: Callable[..., FrontEnd]
) -> None:
    front_end = start_with(api, vhost, start)
    send_20(front_end)
    wait_for(lambda: totals_of(api) == WAITS, "the front end's word")
    # As if it were an hour later, while workers have read what came until three quarters of an hour ago.
    api.execute("UPDATE archive.witnesses SET told_at = now() - interval '44 min'")
    api.execute("UPDATE archive.reading SET until = now() - interval '45 min'")
    assert totals_of(api) == WAITS
    seen: list[dict[str, int]] = []
    with running_worker(vhost, database, tmp_path / "worker"):

        def stored() -> bool:
            seen.append(totals_of(api))
            return seen[-1]["archived"] == 20

        wait_for(stored, "20 rows")
    assert {each["missing"] for each in seen} == {0}
    assert totals_of(api) == {"accepted": 20, "archived": 20, "parked": 0, "missing": 0, "waiting": 0}


def test_what_a_front_end_could_not_tell_is_told_by_the_next_on_its_disk(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path, start: Callable[..., FrontEnd]
) -> None:
    with running_api(database, tmp_path) as away:
        url = away.url
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    settings: dict[str, Any] = {"LCS_ADMIN_API_URL": url, "LCS_ADMIN_API_TOKEN": "frontend"}
    front_end = start(vhost.url("frontend"), **settings)
    front_end.wait_until_ready()
    send_20(front_end)
    assert front_end.process.stop() == 0
    lose_queue(vhost)
    with running_api(database, tmp_path, address=address) as api:
        again = start(vhost.url("frontend"), **settings)
        again.wait_until_ready()
        wait_for(lambda: totals_of(api) == LOST | {"missing": 0, "waiting": 20}, "the word of the first")
        slot = again.folder / "state" / "1"
        wait_for(lambda: not read_agents(slot), "nothing more to be told")


@pytest.mark.parametrize("runs", [True, False], ids=["the next runs meanwhile", "the next starts later"])
def test_an_agent_that_ended_between_a_backup_and_its_restore_is_missing(
    api: AdminApi,
    vhost: Vhost,
    database: ArchiveDatabase,
    tmp_path: Path,
    start: Callable[..., FrontEnd],
    runs: bool,
) -> None:
    dump(database, tmp_path / "dump.sql")
    found = LOST
    first = start_with(api, vhost, start)
    with running_worker(vhost, database, tmp_path / "worker", patch=HASTY) as worker:
        send_20(first)
        assert first.process.stop() == 0
        if runs:
            again = start_with(api, vhost, start)
            assert again.post(IM).status_code == 201
            found = {"accepted": 22, "archived": 1, "parked": 0, "missing": 21, "waiting": 0}
        wait_for(lambda: totals_of(api)["archived"] == 20 + runs, "all rows")
        finish(worker, vhost)
    execute_file(database, tmp_path / "dump.sql", "DROP SCHEMA archive, cdr CASCADE")
    if runs:
        assert again.post(IM).status_code == 201
    else:
        assert totals_of(api)["accepted"] == 0
        start_with(api, vhost, start)
    with running_worker(vhost, database, tmp_path / "worker", patch=HASTY):
        wait_for(lambda: totals_of(api) == found, "the hole to be told of", seconds=60)
