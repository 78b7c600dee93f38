"""What the archiving service cannot store: parked with its reason, replayed, and the rest stored."""

import signal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pika
import psycopg
import pytest

from archiving.archive import Archive
from archiving.senders import Senders
from archiving.storing import replay_all
from contract.message import (
    IM,
    IM_TYPE,
    encode_ims,
    headers_of,
    make_id,
    time_of,
)
from contract.topology import PARK_EXCHANGE, QUEUE
from deploy.credentials import FRONT_END_USER
from deploy.local.process import wait_for
from tests.conftest import ArchiveDatabase, Vhost
from tests.integration.archiving_service import (
    KILL_AT,
    changed,
    finish,
    make_ims,
    parked,
    publish,
    run_command,
    running_worker,
    stored_ids,
    wait_until_stored,
)

POISON = {
    b'{"id": 1': "unreadable",
    b"{}": "missing required field",
    b"\xff\xfe": "unreadable",
    b'"\\ud800"': "unreadable",
    b'{"mood":' + b"[" * 100_000 + b"]" * 100_000 + b"}": "recursion",  # from 3.12 on 2000 are no trouble
}


def test_a_line_nobody_can_read_is_parked_and_the_rest_is_stored(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    good: list[IM] = []
    for poison in POISON:
        ims = make_ims(999)
        lines = encode_ims(ims).splitlines()
        lines[500] = poison
        publish(vhost, ims, body=b"\n".join(lines))
        good += ims[:500] + ims[501:]
    with running_worker(vhost, database, tmp_path) as worker:
        wait_until_stored(database, good)
        finish(worker, vhost)
    kept = parked(database)
    assert sorted(body for body, *_ in kept) == sorted(POISON)
    for body, why, first, _, state in kept:
        assert (first, state) == (501, "parked")
        assert POISON[body] in why
    assert database.rows("SELECT accepted, archived, parked, missing FROM archive.completeness") == [
        (999, 998, 1, 0)
    ] * len(POISON)


def test_a_refused_im_is_parked_as_it_came_and_once_in_whatever_batch_it_comes_again(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    good, bad = make_ims(2)
    line = encode_ims([changed(bad, body="a\0b")]).rstrip()[:-1] + b',"mood":"fine"}'
    patch = KILL_AT + "from archiving.consumer import Consumer; Consumer.acknowledge = die"
    publish(vhost, [good])
    publish(vhost, [bad], body=line)
    with running_worker(vhost, database, tmp_path, patch=patch) as worker:
        assert worker.popen.wait(30) == -signal.SIGKILL
    with running_worker(vhost, database, tmp_path, settings={"LCS_BATCH_SIZE": "1"}) as worker:
        wait_until_stored(database, [good])
        wait_for(lambda: len(parked(database)) == 1, "the parked IM")
        finish(worker, vhost)
    [(body, _, first, count, _)] = parked(database)
    assert (body, first, count) == (line, 2, 1)


def test_a_whole_message_that_nobody_can_read_is_parked_line_by_line(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    ims = make_ims(50)
    publish(vhost, ims, body=b"\n".join(b"%d}" % im.seq for im in ims))
    with running_worker(vhost, database, tmp_path) as worker:
        wait_for(lambda: len(parked(database)) == 50, "parked lines")
        finish(worker, vhost)
    assert [first for _, _, first, _, _ in parked(database)] == list(range(1, 51))
    assert database.rows("SELECT accepted, archived, parked, missing FROM archive.completeness") == [
        (50, 0, 50, 0)
    ]


def test_a_message_without_an_im_is_parked_whole_and_accounted_for(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    bodies = [b"", b"\n", b" \r\n\t\n"]
    good: list[IM] = []
    for body in bodies:
        ims = make_ims(6)
        publish(vhost, ims[:2])
        publish(vhost, ims[2:5], body=body)
        publish(vhost, ims[5:])
        good += ims[:2] + ims[5:]
    with running_worker(vhost, database, tmp_path) as worker:
        wait_until_stored(database, good)
        finish(worker, vhost)
    kept = parked(database)
    assert sorted(body for body, *_ in kept) == sorted(bodies)
    for _, reason, first, count, _ in kept:
        assert (first, count) == (3, 3)
        assert "no IM in it" in reason
    assert database.rows("SELECT accepted, archived, parked, missing FROM archive.completeness") == [
        (6, 3, 3, 0)
    ] * len(bodies)


@pytest.mark.parametrize("bad", [[], [b"?"]], ids=["all can be read", "one cannot"])
def test_what_a_message_says_it_holds_and_does_not_is_missing(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path, bad: list[bytes]
) -> None:
    ims = make_ims(10)
    lines = encode_ims(ims).splitlines()[:7]
    publish(vhost, ims, body=b"\n".join(lines[: 7 - len(bad)] + bad))
    with running_worker(vhost, database, tmp_path) as worker:
        wait_until_stored(database, ims[: 7 - len(bad)])
        finish(worker, vhost)
    rows = database.rows("SELECT accepted, parked, missing, missing_numbers::text FROM archive.completeness")
    assert rows == [(10, len(bad), 3, "{[8,11)}")]


def test_an_older_and_a_newer_version_of_the_contract_are_stored_side_by_side(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    """A newer front end may say more of an IM than this worker knows; it says it under the same type."""
    older, newer = make_ims(20), make_ims(20)
    publish(vhost, older)
    more = [line[:-1] + b',"mood":"fine"}' for line in encode_ims(newer).splitlines()]
    publish(vhost, newer, body=b"\n".join(more))
    with running_worker(vhost, database, tmp_path) as worker:
        wait_until_stored(database, older + newer)
        finish(worker, vhost)
    assert parked(database) == []


REFUSED: list[tuple[dict[str, object], str]] = [
    ({"body": "a\0b"}, "0x00"),
    ({"conversation": "a\0b"}, "u0000"),
    ({"encoding": "base64", "body": "no base64"}, "not base64"),
    ({"sent_at": time_of(make_id(0))}, "sent_at"),
    ({"policy_version": 2**70}, "cannot be stored"),
]


def test_an_im_the_database_refuses_is_parked_and_the_rest_is_stored(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    good: list[IM] = []
    reasons: dict[bytes, str] = {}
    for fields, reason in REFUSED:
        ims = make_ims(100)
        ims[42] = changed(ims[42], **fields)
        publish(vhost, ims)
        good += ims[:42] + ims[43:]
        reasons[encode_ims([ims[42]]).rstrip()] = reason
    with running_worker(vhost, database, tmp_path) as worker:
        wait_until_stored(database, good)
        finish(worker, vhost)
    kept = parked(database)
    assert sorted(body for body, *_ in kept) == sorted(reasons)
    for body, why, first, _, _ in kept:
        assert first == 43
        assert reasons[body] in why
    assert database.rows("SELECT accepted, archived, parked, missing FROM archive.completeness") == [
        (100, 99, 1, 0)
    ] * len(REFUSED)


def test_an_im_whose_agent_cannot_be_named_is_parked_and_the_rest_is_stored(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    good = make_ims(3)
    [bad] = make_ims(1)
    bad = changed(bad, pool="a\0b")
    publish(vhost, [bad], named=None)
    publish(vhost, good)
    with running_worker(vhost, database, tmp_path, settings={"LCS_TRUST_ANONYMOUS": "true"}) as worker:
        wait_until_stored(database, good)
        finish(worker, vhost)
    [(body, reason, *_)] = parked(database)
    assert (body, "0x00" in reason) == (encode_ims([bad]).rstrip(), True)
    assert database.rows("SELECT ims FROM archive.publishes") == [(3,)]


def test_a_message_of_an_unknown_contract_is_parked_whole(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    ims = make_ims(10)
    publish(vhost, ims, type_="lcs.im.v99")
    with running_worker(vhost, database, tmp_path) as worker:
        wait_for(lambda: len(parked(database)) == 1, "a parked message")
        finish(worker, vhost)
    assert database.rows("SELECT accepted, archived, parked, missing FROM archive.completeness") == [
        (10, 0, 10, 0)
    ]


def test_an_id_that_comes_again_is_stored_once_and_parked_if_its_content_differs(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    first, second = make_ims(2)
    agent = uuid4()
    publish(vhost, [first])
    publish(vhost, [changed(first, agent=agent, seq=1), changed(second, agent=agent, seq=2)])
    publish(vhost, [changed(second, agent=agent, seq=3, body="something else")])
    with running_worker(vhost, database, tmp_path) as worker:
        wait_for(lambda: len(parked(database)) == 1, "a parked message")
        finish(worker, vhost)
    assert stored_ids(database) == sorted([first.id, second.id])
    assert database.rows("SELECT body FROM archive.messages") == [("hello",), ("hello",)]
    assert database.rows("SELECT archived, parked, missing FROM archive.completeness ORDER BY archived") == [
        (1, 0, 0),
        (2, 1, 0),
    ]


def test_parked_ims_are_stored_by_a_replay_once_the_cause_is_mended(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    original, other = make_ims(2)
    publish(vhost, [original])
    with running_worker(vhost, database, tmp_path):
        wait_until_stored(database, [original])
        publish(vhost, [changed(other, id=original.id, sent_at=original.sent_at, body="the right one")])
        wait_for(lambda: len(parked(database)) == 1, "a parked message")
        with psycopg.connect(database.url("postgres"), autocommit=True) as connection:
            connection.execute("DELETE FROM archive.messages")
        result = run_command("replay", {"LCS_DATABASE_URL": database.url("lcs_archiving")})
        assert result.returncode == 0, result.stderr
        wait_until_stored(database, [original])
    assert database.rows("SELECT body FROM archive.messages") == [("the right one",)]
    assert database.rows("SELECT archived, parked, missing FROM archive.completeness") == [(2, 0, 0)]
    assert [state for *_, state in parked(database)] == ["replayed"]


def test_what_still_cannot_be_stored_is_parked_again(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    ims = make_ims(3)
    publish(vhost, [ims[0], changed(ims[1], body="a\0b"), ims[2]])
    with running_worker(vhost, database, tmp_path):
        wait_for(lambda: len(parked(database)) == 1, "a parked IM")
    result = run_command("replay", {"LCS_DATABASE_URL": database.url("lcs_archiving")})
    assert result.returncode == 1, result.stderr
    [(_, reason, first, count, state)] = parked(database)
    assert ("0x00" in reason, first, count, state) == (True, 2, 1, "parked")
    assert database.rows("SELECT archived, parked, missing FROM archive.completeness") == [(2, 1, 0)]


def ask_for_replays(database: ArchiveDatabase, count: int) -> None:
    """Have the archive hold so much that nobody can read, behind as much of which no replay was asked for."""
    with psycopg.connect(database.url("postgres")) as connection:
        connection.execute(
            "INSERT INTO archive.parked (key, reason, body, properties, ims, state)"
            " SELECT n::text::bytea, 'unreadable', 'x', '{\"type\": \"lcs.im.v1\"}', 1,"
            " CASE WHEN n > %(count)s THEN 'replaying' ELSE 'parked' END"
            " FROM generate_series(1, 2 * %(count)s) AS n",
            {"count": count},
        )


def still_asked_for(database: ArchiveDatabase) -> Any:
    """Return how many replays were not yet tried."""
    return database.rows("SELECT count(*) FROM archive.parked WHERE state = 'replaying'")[0][0]


def test_a_long_replay_holds_up_neither_ims_nor_the_end(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    ask_for_replays(database, 20_000)
    ims = make_ims(3)
    with running_worker(vhost, database, tmp_path) as worker:
        wait_for(lambda: still_asked_for(database) < 20_000, "the replay to begin")
        publish(vhost, ims)
        wait_until_stored(database, ims)
        assert worker.stop() == 0
        assert still_asked_for(database) > 0


def test_a_replay_reads_little_more_than_what_it_tries(database: ArchiveDatabase) -> None:
    ask_for_replays(database, 300)
    archive = Archive(database.url("lcs_archiving"))
    assert replay_all(archive, Senders({}, trust_anonymous=False)) == (0, 300)
    archive.close()
    read = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'parked'"
    wait_for(lambda: int(str(database.rows(read)[0][0])) > 300, "the statistics")
    assert int(str(database.rows(read)[0][0])) < 10 * 300


def test_what_the_broker_gave_up_is_parked_too_and_accounted_for(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    ims = make_ims(5)
    vhost.allow("frontend", write=".*")  # as the broker does it: x-death and the rest is no matter
    with vhost.connect("frontend") as connection:
        connection.channel().basic_publish(
            PARK_EXCHANGE,
            QUEUE,
            encode_ims(ims),
            pika.BasicProperties(
                type=IM_TYPE, headers=headers_of(ims), delivery_mode=2, user_id=FRONT_END_USER
            ),
        )
    with running_worker(vhost, database, tmp_path):
        wait_for(lambda: len(parked(database)) == 1, "a parked message")
        [(body, reason, first, count, _)] = parked(database)
        assert (body, first, count) == (encode_ims(ims), 1, 5)
        assert "delivered too often" in reason
        wait_for(
            lambda: database.rows("SELECT parked, missing FROM archive.completeness") == [(5, 0)],
            "the account",
        )
        replayed = run_command("replay", {"LCS_DATABASE_URL": database.url("lcs_archiving")})
        assert replayed.returncode == 0, replayed.stderr
        wait_until_stored(database, ims)
    assert database.rows("SELECT archived, parked, missing FROM archive.completeness") == [(5, 0, 0)]


def test_an_im_that_kills_the_worker_is_found_and_parked_and_the_rest_is_stored(
    vhost: Vhost, database: ArchiveDatabase, tmp_path: Path
) -> None:
    ims = make_ims(40)
    for first in range(0, 40, 4):
        publish(
            vhost, ims[first : first + 4], body=None if first != 20 else b"killer\n" + encode_ims(ims[21:24])
        )
    # In every process of this test, children too, what reads this body dies.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'archiving' in ' '.join(sys.orig_argv):\n"
        "    import archiving.batch as batch\n"
        "    decode = batch.decode_ims\n"
        "    batch.decode_ims = lambda body: os._exit(9) if body.startswith(b'killer') else decode(body)\n"
    )
    codes = []
    for _ in range(4):
        with running_worker(vhost, database, tmp_path, settings={"PYTHONPATH": str(tmp_path)}) as worker:
            wait_for(lambda: not worker.alive or len(parked(database)) == 1, "a verdict", seconds=60)
            if worker.alive:
                finish(worker, vhost)
                break
            codes.append(worker.popen.returncode)
    assert codes == [9, 9]
    [(body, reason, first, count, _)] = parked(database)
    assert (body.startswith(b"killer"), first, count) == (True, 21, 4)
    assert "ends the worker" in reason
    assert stored_ids(database) == sorted(im.id for im in ims[:20] + ims[24:])
    assert database.rows("SELECT accepted, archived, parked, missing FROM archive.completeness") == [
        (40, 36, 4, 0)
    ]
