"""Parked IMs: seen by the operator, read by the officer, tried again or given up, and all of it on record."""

import base64
import subprocess
import sys
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from pika.spec import BasicProperties

from archiving.archive import Archive
from archiving.parked.parking import Parked
from archiving.ranges import NumberRange
from archiving.senders import Senders
from archiving.storing import replay_all
from contract.message import IM_TYPE, encode_ims
from tests.conftest import ArchiveDatabase
from tests.integration.admin.conftest import AdminApi, make_im

WHY = {"reason": "the cause is mended"}


def park(api: AdminApi, *bodies: bytes, reason: str = "unreadable") -> None:
    """Park IMs as the archiving service does."""
    archive = Archive(api.database.url("lcs_archiving"))
    for place, body in enumerate(bodies, 1):
        headers = {"agent": str(UUID(int=7)), "pool": "pool1", "count": 1, "first_seq": place, "x": "a\0b"}
        archive.park(Parked(body, BasicProperties(type=IM_TYPE, headers=headers), reason, place))
    archive.close()


def replay(api: AdminApi) -> tuple[int, int]:
    """Do what a worker does each second."""
    archive = Archive(api.database.url("lcs_archiving"))
    try:
        return replay_all(archive, Senders({}, trust_anonymous=False))
    finally:
        archive.close()


def listed(api: AdminApi, **parameters: str) -> list[dict[str, Any]]:
    """Return what the operator sees."""
    answer = api.operator.get("/v1/parked", params=parameters).raise_for_status().json()
    parked: list[dict[str, Any]] = answer["parked"]
    return parked


def test_what_is_parked_is_listed_without_content_a_page_at_a_time(api: AdminApi) -> None:
    park(api, b"one", b"two", b"three")
    park(api, b"three")  # an IM of another number
    page = api.operator.get("/v1/parked", params={"limit": "2"}).json()
    assert (len(page["parked"]), page["waiting"]) == (2, 4)
    rest = api.operator.get("/v1/parked", params={"after": page["next"]}).json()
    assert (len(rest["parked"]), rest["next"]) == (2, None)
    first = rest["parked"][-1]
    assert (first["reason"], first["first_seq"], first["ims"], first["bytes"]) == ("unreadable", 1, 1, 3)
    assert (first["state"], first["pool"], first["agent"]) == ("parked", "pool1", str(UUID(int=7)))
    assert "content" not in first
    assert "text" not in first


def test_what_comes_again_is_parked_once(api: AdminApi) -> None:
    park(api, b"one", b"two")
    park(api, b"one", b"two")
    assert len(listed(api)) == 2


def test_its_content_is_the_officers_to_read_and_that_is_on_record(api: AdminApi) -> None:
    park(api, b"\xff\x00 odd", b"plain")
    plain, odd = listed(api)
    assert api.operator.get(f"/v1/parked/{odd['id']}").status_code == httpx.codes.FORBIDDEN
    read = api.compliance.get(f"/v1/parked/{odd['id']}").json()
    assert (base64.b64decode(read["content"]), read["text"]) == (b"\xff\x00 odd", None)
    assert read["properties"]["headers"]["first_seq"] == 1
    assert api.compliance.get(f"/v1/parked/{plain['id']}").json()["text"] == "plain"
    assert api.compliance.get("/v1/parked/999").status_code == httpx.codes.NOT_FOUND
    reads = [(record["target"], record["actor"]) for record in api.audit(action="archive.parked.read")]
    assert reads == [(str(number), "the compliance") for number in (999, plain["id"], odd["id"])]


def test_prometheus_is_told_what_is_parked_by_the_archive_itself(api: AdminApi) -> None:
    park(api, b"one", b"two")
    api.execute("SELECT cdr.park('key', 'unreadable', 'a line', '{}')")
    api.wait_for_metric("lcs_parked_ims 2.0")
    api.wait_for_metric("lcs_cdr_parked_lines 1.0")
    line, *_ = listed(api)
    api.compliance.post(f"/v1/parked/{line['id']}/discard", json=WHY).raise_for_status()
    api.wait_for_metric("lcs_cdr_parked_lines 0.0")
    api.wait_for_metric("lcs_parked_ims 2.0")


def test_one_is_discarded_with_a_reason_and_its_content_is_kept(api: AdminApi) -> None:
    park(api, b"one", b"two")
    number = listed(api)[1]["id"]
    path = f"/v1/parked/{number}/discard"
    assert api.operator.post(path, json=WHY).status_code == httpx.codes.FORBIDDEN
    assert api.compliance.post(path, json={}).status_code == httpx.codes.UNPROCESSABLE_ENTITY
    assert api.compliance.post(path, json={"reason": "spam"}).json() == {"changed": 1}
    again = api.compliance.post(path, json=WHY)
    assert (again.status_code, "discarded" in again.json()["detail"]) == (httpx.codes.CONFLICT, True)
    assert api.compliance.post("/v1/parked/999/discard", json=WHY).status_code == httpx.codes.NOT_FOUND
    [discarded] = listed(api, state="discarded")
    assert (discarded["id"], discarded["changed_by"], discarded["changed_why"]) == (
        number, "the compliance", "spam",
    )  # fmt: skip
    assert api.compliance.get(f"/v1/parked/{number}").json()["text"] == "one"
    assert api.operator.get("/v1/parked").json()["waiting"] == 1
    [record] = api.audit(action="archive.parked.discard")
    assert (record["target"], record["detail"]) == (str(number), {"reason": "spam"})


def test_a_replay_is_asked_for_by_the_operator_and_done_by_a_worker(api: AdminApi) -> None:
    good = [make_im(seq=seq, agent=UUID(int=7)) for seq in (1, 2)]
    park(api, *(encode_ims([im]).rstrip() for im in good), b"still no IM")
    archive = Archive(api.database.url("lcs_archiving"))
    archive.store([], [NumberRange(UUID(int=7), "pool1", 1, 3)])
    archive.close()
    numbers = [each["id"] for each in reversed(listed(api))]
    assert api.operator.post(f"/v1/parked/{numbers[0]}/replay", json=WHY).json() == {"changed": 1}
    assert replay(api) == (1, 0)
    assert [each["state"] for each in listed(api)] == ["parked", "parked", "replayed"]
    assert api.operator.post("/v1/parked/replay", json=WHY).json() == {"changed": 2}
    assert [each["state"] for each in listed(api)] == ["replaying", "replaying", "replayed"]
    assert replay(api) == (1, 1)
    still, *others = listed(api)
    assert (still["state"], [each["state"] for each in others]) == ("parked", ["replayed", "replayed"])
    assert "unreadable" in still["reason"]
    assert [api.compliance.get(f"/v1/messages/{im.id}").json()["body"] for im in good] == ["hello"] * 2
    totals = api.operator.get("/v1/completeness").json()["totals"]
    assert (totals["archived"], totals["parked"], totals["missing"]) == (2, 1, 0)
    assert [record["target"] for record in api.audit(action="archive.parked.replay")] == [
        "all",
        str(numbers[0]),
    ]


def test_a_replay_needs_no_reason(api: AdminApi) -> None:
    park(api, b"one", b"two")
    number = listed(api)[0]["id"]
    assert api.operator.post(f"/v1/parked/{number}/replay").json() == {"changed": 1}
    assert api.operator.post("/v1/parked/replay").json() == {"changed": 1}
    assert [(each["state"], each["changed_why"]) for each in listed(api)] == [("replaying", None)] * 2
    assert api.compliance.post(f"/v1/parked/{number}/discard").status_code == 422
    assert [record["detail"]["reason"] for record in api.audit(action="archive.parked.replay")] == [None] * 2


def test_a_replay_that_ends_the_worker_is_not_tried_for_ever(api: AdminApi) -> None:
    park(api, b"killer")
    assert api.operator.post("/v1/parked/replay", json=WHY).json() == {"changed": 1}
    archive = Archive(api.database.url("lcs_archiving"))
    assert archive.take_replay() is not None
    assert archive.take_replay() is not None
    assert archive.take_replay() is None
    archive.close()
    [parked] = listed(api)
    assert (parked["state"], parked["reason"].startswith("its replay was cut short twice")) == (
        "parked",
        True,
    )


@pytest.mark.parametrize(
    "statement", ["UPDATE archive.parked SET state = 'discarded'", "SELECT * FROM archive.parked"]
)
def test_the_admin_apis_role_changes_nothing_itself(database: ArchiveDatabase, statement: str) -> None:
    with (
        psycopg.connect(database.url("lcs_admin")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement.encode())


def test_the_command_says_whether_anything_is_missing(api: AdminApi) -> None:
    def run(url: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "admin_api", "completeness", "--wait", "0.1"],
            env={"LCS_DATABASE_URL": url},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    url = api.database.url("lcs_admin")
    agent = uuid4()
    api.store([make_im(agent=agent, seq=seq) for seq in (1, 2)])
    whole = run(url)
    assert (whole.returncode, whole.stdout) == (0, "1 agents: 2 accepted, 2 archived, 0 parked, 0 missing\n")
    api.store([make_im(agent=agent, seq=5)])
    hole = run(url)
    assert hole.returncode == 1
    assert f"agent {agent} (?, pool1): 2 missing: 3-4" in hole.stdout
    away = run("postgresql://nobody@127.0.0.1:1/nothing")
    assert (away.returncode, "out of reach" in away.stderr) == (2, True)
