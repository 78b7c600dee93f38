"""IMs that could not be stored: accounted for, discarded or not, as long as they are kept."""

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import psycopg
import pytest
from pika.spec import BasicProperties

import archiving.migrations
from archiving.archive import Archive
from archiving.delivery import Delivery
from archiving.senders import Senders
from archiving.storing import Settlement, replay_all
from contract.cdr import Activity
from contract.message import IM, IM_TYPE, encode_ims, headers_of
from tests.conftest import ArchiveDatabase
from tests.integration.admin.conftest import AdminApi, make_im, make_ims

WHY = {"reason": "spam"}
START = datetime(2026, 3, 1, 8, tzinfo=UTC)
AT_MS = round(START.timestamp()) * 1000
TIMES = {"from": "2026-03-01T08:00:00Z", "to": "2026-03-01T08:05:00Z"}
SENDERS = Senders({}, trust_anonymous=True)

RECONCILED = (
    "SELECT conversation, recorded, parked, differing"
    " FROM cdr.reconcile('2026-03-01 08:00Z', '2026-03-01 08:05Z') ORDER BY conversation"
)


def come(
    database: ArchiveDatabase,
    ims: Sequence[IM],
    body: bytes | None = None,
    *,
    given_up: bool = False,
    user: str | None = None,
) -> None:
    """Have the archiving service take a message; ``body`` replaces the IMs'."""
    properties = BasicProperties(type=IM_TYPE, headers=headers_of(ims), user_id=user)
    delivery = Delivery(1, 1, properties, encode_ims(ims) if body is None else body, given_up)
    archive = Archive(database.url("lcs_archiving"))
    Settlement(SENDERS, [delivery]).settle(archive)
    archive.close()


def replay(database: ArchiveDatabase) -> None:
    """Do what a worker does each second."""
    archive = Archive(database.url("lcs_archiving"))
    replay_all(archive, SENDERS)
    archive.close()


def record(database: ArchiveDatabase, ims: Sequence[IM], *, last: datetime | None = None) -> None:
    """Store what the call detail records say of IMs; in one sum, if it is said when that ends."""
    told = [
        Activity(
            conversation=im.conversation, sender=im.sender, recipients=im.recipients, scope=im.scope,
            pool=im.pool, client="test", first=im.sent_at, last=last or im.sent_at,
            archived=1 if last is None else len(ims),
        )
        for im in (ims if last is None else ims[:1])
    ]  # fmt: skip
    with psycopg.connect(database.url("lcs_archiving")) as connection:
        connection.execute(
            "SELECT cdr.log_activities(gen_random_uuid(), %s, '10 minutes')",
            [msgspec.json.encode(told).decode()],
        )


def reconciled(api: AdminApi) -> dict[str, Any]:
    """Return the reconciliation of the five minutes after the start."""
    answer = api.compliance.get("/v1/cdr/reconciliation", params=TIMES).raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def counts(api: AdminApi) -> tuple[int, ...]:
    """Return what is recorded, archived, parked, discarded, and how many conversations differ."""
    found = reconciled(api)
    return tuple(found[name] for name in ("recorded", "archived", "parked", "discarded", "differing"))


def numbers_parked(api: AdminApi) -> list[int]:
    """Return under which numbers something was parked, oldest first."""
    return [each["id"] for each in api.operator.get("/v1/parked").raise_for_status().json()["parked"]][::-1]


def spoil(im: IM) -> bytes:
    """Return an IM's line with a field that nobody understands."""
    return json.dumps(json.loads(encode_ims([im])) | {"seq": "one"}).encode()


@pytest.mark.parametrize("poison", ["refused", "unreadable", "given up by the broker"])
def test_an_im_set_aside_is_accounted_for_until_it_is_deleted_by_hand(api: AdminApi, poison: str) -> None:
    good, bad = make_ims(2, start_ms=AT_MS)
    record(api.database, [good, bad])
    come(api.database, [good])
    assert counts(api) == (2, 1, 0, 0, 1)
    match poison:
        case "refused":
            come(api.database, [msgspec.structs.replace(bad, body="a\0b")])
        case "unreadable":
            come(api.database, [bad], spoil(bad))
        case _:
            come(api.database, [bad], given_up=True)
    assert counts(api) == (2, 1, 1, 0, 0)
    [number] = numbers_parked(api)
    api.compliance.post(f"/v1/parked/{number}/discard", json=WHY).raise_for_status()
    assert counts(api) == (2, 1, 0, 1, 0)
    api.execute("DELETE FROM archive.parked")
    [difference] = reconciled(api)["differences"]
    assert difference == {
        "conversation": "c1", "recorded": 2, "archived": 1, "parked": 0, "discarded": 0, "minutes": 1,
    }  # fmt: skip


def test_nothing_set_aside_makes_up_for_an_im_that_is_deleted_by_hand(api: AdminApi) -> None:
    ims = make_ims(3, start_ms=AT_MS)
    record(api.database, ims)
    come(api.database, ims[:2])
    come(api.database, ims, given_up=True)  # what is stored of it already is archived, not parked
    assert counts(api) == (3, 2, 1, 0, 0)
    api.execute("DELETE FROM archive.messages WHERE seq = 1")
    assert counts(api) == (3, 1, 1, 0, 1)


def test_what_is_replayed_is_counted_where_it_is_then(api: AdminApi) -> None:
    ims = make_ims(2, start_ms=AT_MS)
    record(api.database, ims)
    come(api.database, ims, given_up=True)
    assert counts(api) == (2, 0, 2, 0, 0)
    api.operator.post("/v1/parked/replay").raise_for_status()
    assert counts(api) == (2, 0, 2, 0, 0)
    replay(api.database)
    assert counts(api) == (2, 2, 0, 0, 0)
    api.execute("DELETE FROM archive.messages WHERE seq = 1")
    assert counts(api) == (2, 1, 0, 0, 1)


def test_what_nobody_can_read_is_a_number_of_its_own_when_it_was_parked(api: AdminApi) -> None:
    [im] = make_ims(1, start_ms=AT_MS)
    record(api.database, [im])
    come(api.database, [im], b"?")
    assert (counts(api), reconciled(api)["unattributed"]) == ((1, 0, 0, 0, 1), 0)
    api.execute("UPDATE archive.parked SET parked_at = '2026-03-01 08:00Z'")
    assert (counts(api), reconciled(api)["unattributed"]) == ((1, 0, 0, 0, 1), 1)
    [number] = numbers_parked(api)
    api.compliance.post(f"/v1/parked/{number}/discard", json=WHY).raise_for_status()
    assert (counts(api), reconciled(api)["unattributed"]) == ((1, 0, 0, 0, 1), 1)


def test_what_a_stranger_sent_makes_up_for_nothing(api: AdminApi) -> None:
    [im] = make_ims(1, start_ms=AT_MS)
    record(api.database, [im])
    come(api.database, [im], user="stranger")
    assert len(numbers_parked(api)) == 1
    assert counts(api) == (1, 0, 0, 0, 1)


def test_the_command_says_what_was_set_aside(api: AdminApi) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    ims = make_ims(3, start_ms=round(now.timestamp() - 600) * 1000)
    record(api.database, ims[:2])
    for im in ims:
        come(api.database, [im], spoil(im) if im is not ims[2] else b"?")
    api.compliance.post(f"/v1/parked/{numbers_parked(api)[0]}/discard", json=WHY).raise_for_status()
    done = subprocess.run(
        [sys.executable, "-m", "admin_api", "reconcile"],
        env={"LCS_DATABASE_URL": api.database.url("lcs_admin")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (
        0,
        "1 conversations: 2 messages, 0 not archived by rule, 2 recorded as archived, 0 in the archive,"
        " 1 parked, 1 discarded, 1 parked of unknown conversations, 0 differ\n",
    )


def test_a_sum_of_an_older_front_end_goes_over_the_ends_of_the_time_with_what_is_parked(
    database: ArchiveDatabase,
) -> None:
    for conversation, seconds in (
        ("before", (-30, 60)),
        ("after", (240, 360)),
        ("over both", (-30, 150, 400)),
    ):
        ims = [make_im(at_ms=AT_MS + 1000 * at, conversation=conversation) for at in seconds]
        record(database, ims, last=ims[-1].sent_at)
        for im in ims:
            come(database, [im], given_up=True)
    assert database.rows(RECONCILED) == [("after", 2, 2, 0)]  # of the others nothing is counted here


def test_what_was_parked_before_is_accounted_for_too(database: ArchiveDatabase) -> None:
    database.begin_anew(archiving.migrations, "0023")
    ims = make_ims(2, start_ms=AT_MS)
    record(database, ims)
    come(database, ims, given_up=True)
    archiving.migrations.migrate(database.url("lcs_owner"))
    assert database.rows(RECONCILED) == [("c1", 2, 2, 0)]
